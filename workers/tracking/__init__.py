"""Experiment tracking: sends the epochs and the results of jobs to TensorBoard, MLflow and Weights & Biases."""
