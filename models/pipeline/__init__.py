"""One fine-tuning job from a dataset to a checkpoint file."""
