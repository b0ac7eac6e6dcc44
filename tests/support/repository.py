"""Files of the repository, each Python source parsed once, for the tests of its rules."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if (ROOT / name).exists()
]
SOURCES = {path: path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".py"}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}


def relative(path: Path) -> str:
    """Format a path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()
