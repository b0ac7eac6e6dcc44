"""Command-line arguments of benchmarks: a dataset, or scikit-learn's digits, and a backbone."""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.digits import write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKBONES = Path(os.environ.get("GRAFT_BACKBONES") or Path(__file__).parents[1] / "demo" / "backbones")
"""Folder of local backbones."""


def build_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Build a parser of --dataset and --backbone."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--dataset", type=Path, help="an archive, or a folder; without it, scikit-learn's digits")
    parser.add_argument("--backbone", default="local/rendered_shapes", type=parse_backbone)
    return parser


def parse_backbone(name: str) -> str:
    """Check that a local backbone is there; raises ArgumentTypeError."""
    source, _, folder = name.partition("/")
    if source == "local" and not (BACKBONES / folder / "config.json").is_file():
        there = ", ".join(sorted(f"local/{path.parent.name}" for path in BACKBONES.glob("*/config.json"))) or "none"
        raise argparse.ArgumentTypeError(
            f"{name} is not in {BACKBONES} (GRAFT_BACKBONES). Choose by BACKBONE=… one that is: {there}."
        )
    return name


@contextmanager
def scratch(dataset: Path | None) -> Iterator[tuple[Path, Path]]:
    """Make a temporary folder; yields it with the dataset, or with the digits written to it."""
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        folder = Path(name)
        if dataset is None:
            dataset = folder / "digits.tar"
            write_archive(dataset)
        yield folder, dataset
