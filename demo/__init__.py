"""Demo: a whole job on data that everybody has."""
