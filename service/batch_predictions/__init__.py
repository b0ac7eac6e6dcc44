"""Batch predictions: models predict for every image of a dataset, and the results are kept as files."""
