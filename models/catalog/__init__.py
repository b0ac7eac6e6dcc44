"""The catalog of techniques and the recipe that chooses them. Imports no torch, since the service reads it too."""
