"""Jobs: requests to train, from POST to checkpoint."""
