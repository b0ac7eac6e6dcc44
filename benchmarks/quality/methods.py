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
    began, times = time.perf_counter(), os.times()
    if method in OUTER_PEERS:
        outcome = run_outer_peer(method, cell)
        seconds = outcome.seconds  # without imports and start-up, which Graft's workers have behind them
        return Row(outcome.test, round(seconds, 2), round(_count_cpu(times), 2), (), "")
    confidences, right, note = IN_PROCESS[method](cell)
    seconds = time.perf_counter() - began
    return make_row(confidences.tolist(), right.tolist(), seconds, _count_cpu(times), note)


def _count_cpu(before: os.times_result) -> float:
    """Count the processor seconds of this process and its children since then."""
    now = os.times()
    return sum(now[:4]) - sum(before[:4])
