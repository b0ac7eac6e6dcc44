"""`python -m graft` is the same as the command `graft`."""

from graft.cli import app

app()
