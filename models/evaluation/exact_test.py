"""The final test: which class the delivered network gives each image, exactly, though most features are rounded.

Features by a fast engine give nearly the logits that the delivered network gives. Only where the two greatest logits
lie so near to each other that the difference could matter are images computed exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Said = Callable[[np.ndarray], np.ndarray]
    """What a network says of images: (n,) → logits (n, C)."""

FIRST = 16
"""Images that are always computed exactly: the least certain."""
SAFETY = 2.0
"""How many times the greatest change that was seen is taken to be possible."""


def exact_where_near(nearly: Said, exactly: Said, images: np.ndarray) -> np.ndarray:
    """Logits (n, C) of images whose greatest is that of `exactly`.

    True as long as no lead of one logit over another changes by SAFETY times the greatest change that was seen.
    """
    logits = nearly(images)
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T
    margins = first - second
    is_known, worst = np.zeros(len(images), bool), 0.0
    asked = np.argsort(margins, kind="stable")[:FIRST]
    while len(asked):
        said = exactly(images[asked])
        worst = max(worst, _change(logits[asked], said))
        logits[asked], is_known[asked] = said, True
        asked = np.flatnonzero(~is_known & (margins <= SAFETY * worst))
    return logits


def _change(near: np.ndarray, exact: np.ndarray) -> float:
    """By how much, at most, the lead of the greatest logit over another one changes."""
    rows, greatest = np.arange(len(near)), near.argmax(1)
    leads = (said[rows, greatest, None] - said for said in (near, exact))
    return float(np.abs(np.subtract(*leads)).max())
