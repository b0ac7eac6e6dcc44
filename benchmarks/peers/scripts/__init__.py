"""Scripts of the peers, each as its users would write it: `python SCRIPT IMAGES BACKBONE SEED`.

IMAGES is a folder `train/ val/ test/` with a folder for each class, BACKBONE a folder of timm's (config.json,
model.safetensors). They import nothing of ours, and print their result as a last line of JSON.
"""
