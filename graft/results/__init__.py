"""Objects of the API as classes: fields with types, by group of operations."""
