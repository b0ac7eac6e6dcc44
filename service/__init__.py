"""The HTTP service and its database. Loads no network and decodes no image."""
