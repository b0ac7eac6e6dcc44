"""Try every architecture with Graft's cuts: `make coverage-of-backbones`.

Each architecture is tried in a child process of its own, with limits on its time and memory. One of timm or
torchvision is one row in each of two tables: *structure*, on the meta device, where tensors have no memory (has it a
graph, how many cuts, what does it cost), and *numbers*, with random weights, up to MAX_PARAMETERS (the halves against
the whole to the bit, a head, a step of gradient descent). One of *transformers* is one row in a table of its own: a
small network with random weights is converted, compared with the original and cut. A row is written as soon as it is
known, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch

from models.backbones.torchvision_networks import PREFIX, list_names
from tools.coverage_checks import check_numbers, check_structure
from tools.transformers_checks import check_conversion, list_networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from multiprocessing.connection import Connection

FOLDER = Path(__file__).parents[1] / "docs" / "backbones"
STRUCTURE, NUMBERS, TRANSFORMERS = (FOLDER / f"{name}.csv" for name in ("structure", "numbers", "transformers"))
STRUCTURE_COLUMNS = ("architecture", "input_size", "parameters", "multiply_adds", "structure", "cuts", "reason")
NUMBERS_COLUMNS = ("architecture", "input_size", "numbers", "cuts", "spread", "reason", "seconds")
TRANSFORMERS_COLUMNS = (
    "architecture", "class", "structure", "cuts", "numbers", "difference", "spread", "reason", "seconds",
)  # fmt: skip
MAX_PARAMETERS = 100_000_000
"""Most parameters of a network that is tried with numbers."""
MAX_SECONDS, MAX_BYTES = 900.0, 8 << 30
"""Longest time, and most memory, that one architecture may take."""

Row = dict[str, Any]


def list_architectures() -> list[str]:
    """List the architectures of timm and torchvision."""
    names: list[str] = timm.list_models()
    return [*(f"{PREFIX}{name}" for name in list_names()), *names]


def run(check: Callable[[str], Row], table: Path, columns: Sequence[str], architectures: Iterable[str]) -> None:
    """Check architectures that the table lacks, one after another, and append a row for each."""
    table.parent.mkdir(parents=True, exist_ok=True)
    is_new = not table.exists()
    known = set() if is_new else {row["architecture"] for row in read(table)}
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for architecture in architectures:
            if architecture in known:
                continue
            began = time.monotonic()
            row = {"architecture": architecture, **run_in_child(check, architecture)}
            row["seconds"] = f"{time.monotonic() - began:.1f}"
            writer.writerow({column: row.get(column, "") for column in columns})
            file.flush()
            print(architecture, row.get("structure") or row.get("numbers"), row.get("reason", ""), flush=True)


def run_in_child(check: Callable[[str], Row], architecture: str) -> Row:
    """Run a check in a child process; one that dies or takes too long gives a row that says so."""
    context = multiprocessing.get_context("fork")  # torch is loaded once, not for every architecture
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(check, architecture, child))
    process.start()
    child.close()
    try:
        row: Row = parent.recv() if parent.poll(MAX_SECONDS) else _failed(f"it takes more than {MAX_SECONDS:.0f} s")
    except EOFError:
        row = _failed("the process died")
    process.kill()
    process.join()
    return row


def _send(check: Callable[[str], Row], architecture: str, to: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # some print
        try:
            row = check(architecture)
        except Exception as error:  # any architecture may raise any error, and this is what is to be found
            where = traceback.extract_tb(error.__traceback__)[-1]
            row = _failed(f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
    to.send(row)
    to.close()


def _failed(reason: str) -> Row:
    return {"structure": "failed", "numbers": "failed", "reason": " ".join(reason.split())[:300]}


def read(table: Path) -> list[dict[str, str]]:
    """Read the rows of a table; none if there is no table."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Fill the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("structure", "transformers", "numbers"))
    parser.add_argument("--again", action="store_true", help="try again what has failed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.again:
        for table, columns in (
            (STRUCTURE, STRUCTURE_COLUMNS),
            (TRANSFORMERS, TRANSFORMERS_COLUMNS),
            (NUMBERS, NUMBERS_COLUMNS),
        ):
            if table.exists():
                _drop_failed(table, columns)
    if arguments.only in {None, "structure"}:
        run(check_structure, STRUCTURE, STRUCTURE_COLUMNS, list_architectures())
    if arguments.only in {None, "transformers"}:
        run(check_conversion, TRANSFORMERS, TRANSFORMERS_COLUMNS, list_networks())
    if arguments.only in {None, "numbers"}:
        small = [row for row in read(STRUCTURE) if 0 < int(row["parameters"] or 0) <= MAX_PARAMETERS]
        small.sort(key=lambda row: int(row["multiply_adds"] or 0))
        run(check_numbers, NUMBERS, NUMBERS_COLUMNS, [row["architecture"] for row in small])


def _drop_failed(table: Path, columns: Sequence[str]) -> None:
    """Drop the rows of what has failed from a table."""
    rows = [row for row in read(table) if not {"failed", "refused"} & {row.get("structure"), row.get("numbers")}]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
