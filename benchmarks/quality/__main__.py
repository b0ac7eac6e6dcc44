"""Compare recipes and peers over the battery: `make quality SETS='…' BACKBONES='…' SPLITS=5 METHODS='…' BUDGET=60`.

Each row (set, backbone, split, method) is written as it ends; run again, the command goes on where it was. With a
budget, each method has this many seconds. Peers in environments of their own run only where METHODS names them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.peers.peer import PeerFailed
from benchmarks.quality.battery import SETS, find_archive
from benchmarks.quality.cell import NAMES, Cell, find_backbone
from benchmarks.quality.figure import draw_figure
from benchmarks.quality.methods import IN_PROCESS, METHODS, run_method
from benchmarks.quality.rows import Key, Table
from benchmarks.quality.splits import PackedSet
from benchmarks.quality.summary import format_cells, format_methods, select
from benchmarks.quality.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / ".benchmarks" / "quality"
MIRRORED = {"flowers", "waste", "blood_cells", "counting", "distance", "depth", "texture", "shape", "domain_shift"}
"""Sets whose images, mirrored, are of the same class."""


def main() -> None:
    """Run what the table lacks, and print its summary."""
    chosen = parse_arguments()
    table = Table(chosen.table)
    if not chosen.summary:
        run_rows(table, list_keys(chosen))
    rows = select(table.rows, chosen.image_size, chosen.budget)
    rows = {key: row for key, row in rows.items() if key.set in chosen.sets and key.backbone in chosen.backbones}
    if not rows:
        raise SystemExit("The table has no row of these")
    methods = [method for method in chosen.methods if any(key.method == method for key in rows)]
    budget = "each in its own time" if chosen.budget is None else f"{chosen.budget:g} seconds each"
    print(f"\n{describe()}. Images of {chosen.image_size} pixels; {budget}.\n")
    print(format_methods(rows, methods))
    rendered = {key: row for key, row in rows.items() if key.set in TASKS}
    if 0 < len(rendered) < len(rows):
        print(f"\nThe rendered tasks alone:\n\n{format_methods(rendered, methods)}")
    print(f"\n{format_cells(rows, methods)}")
    figure = chosen.table.with_suffix(".svg")
    draw_figure(rows, methods, figure)
    print(f"\nFigure: {figure}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make quality", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--backbones", nargs="+", default=NAMES, help="of the material, or of GRAFT_BACKBONES")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(IN_PROCESS))
    parser.add_argument("--budget", type=float, help="seconds of each method; by default each takes its own")
    parser.add_argument("--image-size", type=int, default=128, help="longer side of the networks' input, in pixels")
    parser.add_argument("--table", type=Path, default=FOLDER / "results.jsonl")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    return parser.parse_args()


def list_keys(chosen: argparse.Namespace) -> Iterator[Key]:
    """List the rows, the first split of all cells first."""
    for split, backbone, one in product(range(chosen.splits), chosen.backbones, chosen.sets):
        for method in chosen.methods:
            yield Key(one, backbone, split, method, chosen.image_size, chosen.budget)


def run_rows(table: Table, keys: Iterator[Key]) -> None:
    """Run those rows that the table lacks; what fails is said, and tried again by the next command."""
    packed: dict[str, PackedSet] = {}
    failed: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory(prefix="graft-quality-") as name:
        folder = Path(name)
        for key in keys:
            if key in table.rows or (key.backbone, key.method) in failed:
                continue
            if key.set not in packed:
                packed[key.set] = PackedSet.pack(find_archive(key.set, folder / "sets"), folder / key.set)
            images = packed[key.set].split(key.split)
            backbone = find_backbone(key.backbone, FOLDER / "backbones", key.image_size)
            cell = Cell(images, backbone, key.split, key.image_size, key.budget, key.set in MIRRORED)
            was_begun = table.begin(key)
            try:
                row = run_method(key.method, cell)
            except PeerFailed as error:
                print(f"{key.method}: {error}", flush=True)
                failed.add((key.backbone, key.method))
                continue
            except Exception as error:  # whatever fails in one row, the others are measured
                print(f"{' '.join(map(str, key[:4]))} failed: {type(error).__name__}: {error}", flush=True)
                continue
            table.add(key, replace(row, resumed=was_begun))
            about, figures = " ".join(map(str, key[:4])), f"{100 * row.accuracy:.1f}%, {row.seconds:.0f} s"
            print(f"{time.strftime('%H:%M:%S')} {about}: {figures}, {row.note}", flush=True)


if __name__ == "__main__":
    main()
