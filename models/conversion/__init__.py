"""Convert networks of other frameworks, read from their files, into graphs of torch modules and functions."""
