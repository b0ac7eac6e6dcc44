"""API keys: who may call what."""
