"""Models: names that point at checkpoints, and can be moved."""
