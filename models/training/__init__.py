"""Training of the head and of the stages above the cut."""
