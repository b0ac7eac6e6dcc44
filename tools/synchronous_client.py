"""Write the client without asyncio from graft/aio/, by replacing words of its source; run by `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from tools.generated import format_code

CLIENT = Path(__file__).parents[1] / "graft"
WRITTEN = ("__init__.py", "runtime.py")
"""Modules of graft/aio/ that have no counterpart, or one written by hand."""
RULES = (
    (r"\[one async for one in (.*)\]$", r"list(\1)"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[(\w[\w.]*)\]", r"\1"),
    (r"\bAwaitable, |, Awaitable\b", ""),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"\b__a(enter|exit|iter)__", r"__\1__"),
    (r"\ba(close|read|iter_lines|iter_bytes)\(", r"\1("),
    (r"\bgraft\.aio\b", "graft"),
)
"""What is replaced by what, in this order."""


def render_modules() -> dict[str, str]:
    """Render the modules of the client without asyncio by their file names."""
    paths = [path for path in sorted((CLIENT / "aio").glob("*.py")) if path.name not in WRITTEN]
    return {
        path.name: format_code(_convert(path.name, path.read_text(encoding="utf-8")), CLIENT / path.name)
        for path in paths
    }


def _convert(name: str, text: str) -> str:
    """Convert the source of a module."""
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    note = f"# Written by tools/synchronous_client.py from graft/aio/{name}: change that, and `make docs`."
    return text.replace("\n\nfrom __future__", f"\n\n{note}\nfrom __future__", 1)


if __name__ == "__main__":
    for name, text in render_modules().items():
        (CLIENT / name).write_text(text, encoding="utf-8")
