"""Uploads: bodies and forms with large files, streamed to the storage."""
