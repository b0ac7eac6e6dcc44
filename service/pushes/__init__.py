"""Pushes of a checkpoint to the Hugging Face Hub or to an MLflow registry, streamed within one request."""
