"""Run a program in a process that finds some installed packages alone, and what those need."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable


def link_packages(names: Iterable[str], folder: Path) -> Path:
    """Link packages and what they need into a folder, without what only their extras need."""
    folder.mkdir(parents=True)
    waiting, seen = list(names), set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another system
            continue
        needed = [Requirement(each) for each in found.requires or ()]
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    return folder


def run_alone(program: str, packages: Path, *arguments: Path) -> None:
    """Run Python source with the standard library and a folder of packages; raises CalledProcessError."""
    opening = f"import sys\nsys.path.append({str(packages)!r})\n"
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", opening + program, *map(str, arguments)], check=True)
