"""Predictor: a process that answers with checkpoints; those of one backbone share one trunk in its memory."""
