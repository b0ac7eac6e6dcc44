"""How errors of models are named to callers."""

import re


def code(error: Exception) -> str:
    """The stable name of an error: its class name in snake_case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
