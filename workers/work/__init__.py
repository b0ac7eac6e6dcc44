"""Kinds of claimed work: training, validation, inspection."""
