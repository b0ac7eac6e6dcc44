"""Methods that are compared: recipes of Graft, and peers; each is run on a cell and gives a row."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.quality.handwritten import run_handwritten
from benchmarks.quality.outer_peers import OUTER_PEERS, run_outer_peer
from benchmarks.quality.probe import run_probe
from benchmarks.quality.recipes import RECIPES, run_recipe
from benchmarks.quality.rows import Row, make_row

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from benchmarks.quality.cell import Cell

    Predict = Callable[[Cell], tuple[np.ndarray, np.ndarray, str]]

IN_PROCESS: dict[str, Predict] = {
    **{name: partial(run_recipe, recipe=recipe) for name, recipe in RECIPES.items()},
    "scikit_learn": run_probe,
    "timm_by_hand": run_handwritten,
}
"""Methods that predict in this process: confidences of the test images, if each is right, and a note."""
METHODS = (*IN_PROCESS, *OUTER_PEERS)


def run_method(method: str, cell: Cell) -> Row:
    """Run a method on a cell; raises PeerFailed for one in an environment of its own."""
    if method in OUTER_PEERS:
        outcome, cpu_seconds = run_outer_peer(method, cell)
        # Without imports and start-up, which Graft's workers have behind them.
        return Row(outcome.test, round(outcome.seconds, 2), round(cpu_seconds, 2), (), "")
    began, before = time.perf_counter(), os.times()
    confidences, right, note = IN_PROCESS[method](cell)
    seconds, after = time.perf_counter() - began, os.times()
    return make_row(confidences.tolist(), right.tolist(), seconds, sum(after[:4]) - sum(before[:4]), note)
