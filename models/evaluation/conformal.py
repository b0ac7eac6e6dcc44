"""Split conformal prediction: sets of classes that hold the true one with a probability of one's choice.

A held-out image has the score s = -log p of its own class. The set of another image holds all classes with -log p ≤ q,
where q is the ⌈(n + 1)·coverage⌉-th least of n held-out scores: so it holds the true class with at least that
probability over images of the same kind (Vovk et al., 2005), and no sets of this coverage are smaller on average than
those of the least likely error (LAC: Sadinle et al., 2019). A set may be empty: where a model is right more often than
the coverage that is asked for, some images are left without an answer. p is the softmax of raw logits, since
calibrating first makes sets worse (Huang et al., 2024, arXiv 2412.06082).

Of several labels an image, p is the sigmoid of each class, and s is that of the image's least likely class: the set
holds all classes of the image with at least the coverage. An image without labels has the score 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from models.evaluation.metrics import compute_log_probabilities

COVERAGES = (0.8, 0.9, 0.95, 0.99)
"""Coverages at which the sets of test images are measured."""

MOST_SCORES = 256
"""Most held-out scores that are kept: of more, those of evenly spaced ranks, so that sets grow by 1/256 at most."""


def compute_scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the scores, (n,), of held-out images from raw logits (n, C) and labels (n,) or multi-hot (n, C)."""
    costs = compute_costs(logits, is_multi_label=labels.ndim == 2)
    if labels.ndim == 1:
        scores: np.ndarray = costs[np.arange(len(labels)), labels]
        return scores
    least_likely: np.ndarray = np.where(labels > 0, costs, 0.0).max(1)
    return least_likely


def compute_costs(logits: np.ndarray, *, is_multi_label: bool) -> np.ndarray:
    """Compute -log p of every class, (n, C), from raw logits (n, C)."""
    if is_multi_label:
        costs: np.ndarray = np.logaddexp(0, -logits.astype(float))
        return costs
    return -compute_log_probabilities(logits)


def keep_scores(scores: np.ndarray) -> np.ndarray:
    """Sort scores (n,) and keep those of the ranks that are kept, as float16 that are rounded up."""
    kept = np.sort(scores)[_choose_ranks(len(scores)) - 1]
    with np.errstate(over="ignore"):  # what is too large for the type becomes infinite
        rounded = kept.astype(np.float16)
    raised: np.ndarray = np.where(rounded < kept, np.nextafter(rounded, np.float16(np.inf)), rounded)
    return raised


def find_threshold(kept: np.ndarray, held_out: int, coverage: float) -> float:
    """Find the greatest -log p of a set's classes.

    Infinite where so few images were held out that only all classes together have the coverage.

    Args:
        kept: of `keep_scores`.
        held_out: number of held-out images.
        coverage: between 0 and 1.
    """
    rank = math.ceil(round((held_out + 1) * coverage, 9))
    if rank > held_out:
        return math.inf
    return float(kept[np.searchsorted(_choose_ranks(held_out), rank)])


def make_sets(logits: np.ndarray, threshold: float, *, is_multi_label: bool) -> np.ndarray:
    """Make the sets of images from raw logits (n, C): a mask (n, C) of their classes."""
    sets: np.ndarray = compute_costs(logits, is_multi_label=is_multi_label) <= threshold
    return sets


def measure_sets(held_out: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> list[dict[str, Any]]:
    """Measure the sets of test images: whether they hold the true class as often as was asked, and how large they are.

    Args:
        held_out: raw logits (n, C) of the images whose scores sets are made of, and labels (n,) or multi-hot (n, C).
        test: the same of other images.

    Returns for each of COVERAGES `coverage`; `empirical`, the share of sets that hold the true class (of several
    labels, all of them); `mean_size`, classes in a set; `single` and `empty`, shares of sets with one class and none.
    """
    scores, count = keep_scores(compute_scores(*held_out)), len(held_out[1])
    test_scores, costs = compute_scores(*test), compute_costs(test[0], is_multi_label=test[1].ndim == 2)
    rows = []
    for coverage in COVERAGES:
        threshold = find_threshold(scores, count, coverage)
        sizes = (costs <= threshold).sum(1)
        rows.append(
            {
                "coverage": coverage,
                "empirical": float((test_scores <= threshold).mean()),
                "mean_size": float(sizes.mean()),
                "single": float((sizes == 1).mean()),
                "empty": float((sizes == 0).mean()),
            }
        )
    return rows


@lru_cache(maxsize=64)  # a request may name a thousand models, mostly of few numbers of held-out images
def _choose_ranks(held_out: int) -> np.ndarray:
    """Choose the ranks, from 1, of the scores that are kept: all, or MOST_SCORES of them and the last."""
    ranks = -(-(held_out + 1) * np.arange(1, MOST_SCORES + 1) // MOST_SCORES)
    return np.unique(np.minimum(ranks, held_out))
