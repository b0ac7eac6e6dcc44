"""From an uploaded archive to a pack of accepted images."""
