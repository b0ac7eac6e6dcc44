"""Open image files as a checkpoint's training did: upright, on white, in 8 bits. Needs the extra `graft[images]`.

```python
image = open_image("photo.jpg", metadata)  # the metadata of a checkpoint's safetensors file
```
"""

from graft.images.decoding import BadImage, Decoding, decode, open_image, read_image
from graft.images.deep import DEPTHS, DeepImage

__all__ = ["DEPTHS", "BadImage", "Decoding", "DeepImage", "decode", "open_image", "read_image"]
