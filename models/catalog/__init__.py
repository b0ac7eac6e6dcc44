"""Every technique, and the recipe that names them. Imports no torch: the service reads it too."""
