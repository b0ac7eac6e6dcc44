"""Exports: a checkpoint in another format, made by a worker on demand and kept in the storage."""
