"""Validate uploaded archives, pack their good images, and split them for training."""
