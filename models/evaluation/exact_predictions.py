"""Exact test predictions: recompute in full precision the images whose class rounding could change.

Features by a fast engine give nearly the logits of the checkpoint's network. Only where the two greatest logits lie so
near to each other that the difference could matter are images computed exactly.

What could matter is estimated, not proved: the rounding of other images is taken to be at most SAFETY times the largest
that was seen on those computed exactly. `precision: exact` computes all images exactly, for who needs the proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    ComputeLogits = Callable[[np.ndarray], np.ndarray]
    """Images (n,) → logits (n, C)."""

FIRST = 16
"""Number of images that are always computed exactly: the least certain."""
SAFETY = 2.0
"""Safety factor: a change this many times as large as the greatest observed one is taken to be possible."""


def compute_exactly_where_near(
    compute_nearly: ComputeLogits, compute_exactly: ComputeLogits, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits with the predicted classes of `compute_exactly`, most of them from fast features.

    Returns logits (n, C), and a mask (n,) of the images that were computed exactly. The classes of the others are the
    same as long as no lead of one logit over another changes by SAFETY times the greatest change that was seen.
    """
    logits = compute_nearly(images)
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T
    margins = first - second
    is_exact, worst = np.zeros(len(images), bool), 0.0
    places = np.argsort(margins, kind="stable")[:FIRST]
    while len(places):
        exact = compute_exactly(images[places])
        worst = max(worst, _change(logits[places], exact))
        logits[places], is_exact[places] = exact, True
        places = np.flatnonzero(~is_exact & (margins <= SAFETY * worst))
    return logits, is_exact


def _change(near: np.ndarray, exact: np.ndarray) -> float:
    """Largest change of the margin between an image's greatest logit and another one."""
    rows, greatest = np.arange(len(near)), near.argmax(1)
    leads = (logits[rows, greatest, None] - logits for logits in (near, exact))
    return float(np.abs(np.subtract(*leads)).max())
