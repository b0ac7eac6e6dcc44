"""The demo: a real job from start to end, on data that everybody has."""
