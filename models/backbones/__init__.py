"""Sources of pretrained networks, a file each."""
