"""Run all experiments in parallel and write their page."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import torch

from benchmarks.machine import describe
from experiments import (
    batch_normalization,
    dying_relus,
    optimizers,
    page,
    plots,
    pretraining,
    regularizers,
    schedules,
    transfer,
    vanishing_gradients,
)
from experiments.material import GIVEN, open_material
from models.runtime.tuning import TUNING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from experiments.material import Material
    from experiments.running import Effort

    Measure = Callable[[Material, Effort], page.Result]

EXPERIMENTS: dict[str, Measure] = {
    "vanishing_gradients": vanishing_gradients.measure,
    "dying_relus": dying_relus.measure,
    "batch_normalization": batch_normalization.measure,
    "optimizers": optimizers.measure,
    "schedules": schedules.measure,
    "regularizers": regularizers.measure,
    "transfer": transfer.measure,
    "pretraining": pretraining.measure,
}
"""Experiments in the order of the page."""
SLOWEST = "transfer"
"""Experiment that starts first, so that the others run beside it."""

READING = """\
Mean ± standard deviation over seeds, each seed another random split of the images (70% to train on, 15% to validate
on, 15% to test on), other weights before the first step, and another order of batches. Bands and bars in the figures
are standard deviations too. Two things are compared seed by seed; a difference is called clear where its 95% interval,
given after ±, by Student's t leaves out zero. One in twenty is clear by chance alone, and seeds share images, so that
a difference that is barely clear says little. The sentences under "Findings" are derived from the figures by the same
run. Unless stated otherwise, features are those of plain views, and the last epoch counts."""


def write(names: Sequence[str], effort: Effort, out: Path) -> None:
    """Run the named experiments in parallel, one thread each, and write their page."""
    os.environ.update({name: value for name, value in TUNING.items() if name not in os.environ})
    began, cores = time.monotonic(), len(os.sched_getaffinity(0))
    # A step is so small that a second thread only makes it slower.
    with ProcessPoolExecutor(cores, get_context("spawn"), torch.set_num_threads, (1,)) as processes:
        first = sorted(names, key=lambda name: name != SLOWEST)
        running = {
            name: processes.submit(measure_section, name, number, effort, out)
            for number, name in _numbered(names, first)
        }
        sections = [running[name].result() for name in names]
    head = [
        f"`{'GRAFT_MATERIAL=… ' if GIVEN else ''}make experiments` measures everything on this page and writes it.",
        f"{open_material().describe()}. {len(effort.seeds)} seeds. {describe()}; a thread for each "
        f"experiment, as many side by side as there are cores. It took {(time.monotonic() - began) / 60:.0f} minutes.",
        READING,
    ]
    (out / "experiments.md").write_text(page.format_page(head, sections))
    print(f"{out / 'experiments.md'} written after {time.monotonic() - began:.0f} s")


def measure_section(name: str, number: int, effort: Effort, out: Path) -> str:
    """Run one experiment, write its figure, and return its section of the page."""
    began, measure = time.monotonic(), EXPERIMENTS[name]
    report = measure(open_material(), effort).report()
    plots.save(report.figure, out / "experiments" / f"{name}.svg")
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return page.format_section(number, name, page.read_question(measure), report)


def _numbered(names: Sequence[str], order: Sequence[str]) -> list[tuple[int, str]]:
    return [(names.index(name) + 1, name) for name in order]
