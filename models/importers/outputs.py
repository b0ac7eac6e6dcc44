"""Outputs of two networks made comparable: as logits, logarithms of probabilities, or probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.importers.report import ImageKind, MeasureKind

LEAST_PROBABILITY = 1e-20
"""Least probability whose logarithm is compared: far above the numbers that float32 cannot hold."""
LOG_LEAST = float(np.log(LEAST_PROBABILITY))
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Measure:
    """One way to compare the outputs of an original with an imported network's logits."""

    kind: MeasureKind
    of_original: Callable[[np.ndarray], np.ndarray]
    of_logits: Callable[[np.ndarray], np.ndarray]
    """Computes in the precision of its argument."""
    least: float = -np.inf
    """Lower values are taken for this one: float32 cannot hold them."""

    def compute(self, logits: np.ndarray) -> np.ndarray:
        """Compute the compared values of an imported network's logits."""
        return self.of_logits(logits).clip(self.least)

    def read(self, outputs: np.ndarray) -> np.ndarray:
        """Compute the compared values of an original's outputs."""
        return self.of_original(outputs).clip(self.least)


@dataclass(frozen=True)
class Outputs:
    """Outputs (B, C) on one set of images: of the original by batch, and of the imported network."""

    kind: ImageKind
    original: Mapping[int, np.ndarray]
    exact: np.ndarray
    """Logits in float64, or in float32 where the original rounds more than that."""
    rounded: Sequence[np.ndarray]
    """Logits as the original rounds: in float32, in several orders of summation; else with its bits."""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Compute log(softmax) of (B, C)."""
    shifted = logits - logits.max(1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


def softmax(logits: np.ndarray) -> np.ndarray:
    """Compute softmax of (B, C)."""
    result: np.ndarray = np.exp(log_softmax(logits))
    return result


def _take(values: np.ndarray) -> np.ndarray:
    return values


def _log(probabilities: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return result


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-np.logaddexp(np.zeros_like(logits), -logits))
    return result


LOGITS = Measure("logits", _take, _take)
FEATURES = Measure("features", _take, _take)
SOFTMAX = Measure("log_probabilities", _log, log_softmax, least=LOG_LEAST)
LOG_SOFTMAX = Measure("log_probabilities", _take, log_softmax)
SIGMOID = Measure("probabilities", _take, _sigmoid)
"""Runtimes compute a sigmoid to about 1e-7, whatever its size: onnxruntime takes 0 for what is below 1e-8."""


def choose_measure(original: np.ndarray, logits: np.ndarray, has_softmax: bool, has_classes: bool) -> Measure:
    """Choose how to compare an original's outputs (B, C) with a network's logits, by what the outputs look like.

    Probabilities are taken for those of a softmax or of a sigmoid, whichever they are nearer to. Raises ImportRejected.
    """
    if not has_softmax:
        return LOGITS if has_classes else FEATURES
    if original.min() >= 0.0 and original.max() <= 1.0 + TOLERANCE:
        to_softmax, to_sigmoid = (np.abs(original - function(logits)).mean() for function in (softmax, _sigmoid))
        return SOFTMAX if to_softmax <= to_sigmoid else SIGMOID
    if original.max() <= TOLERANCE:
        return LOG_SOFTMAX
    raise ImportRejected(
        "conversion_differs",
        "The file's last operation was read as softmax or sigmoid, but its outputs are no probabilities "
        f"({original.min():.3g} to {original.max():.3g}). Export the network without its last activation.",
    )
