"""Features of the frozen trunk: computed once, cached, read in batches."""
