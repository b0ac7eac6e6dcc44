"""The feature caches of the workers' machines: how large they are, what they saved, and emptying them."""
