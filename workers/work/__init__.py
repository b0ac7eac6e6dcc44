"""Kinds of claimed work, as their supervisor calls them."""
