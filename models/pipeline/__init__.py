"""Fine-tuning from a dataset to a checkpoint file."""
