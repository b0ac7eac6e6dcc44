"""Feature caches of the workers' machines: their size, their savings, and requests to empty them."""
