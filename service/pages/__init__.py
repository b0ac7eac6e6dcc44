"""The page: the service in a browser, rendered on the server."""
