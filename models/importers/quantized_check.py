"""Compare an imported network with an original of 8 or 16 bits, by what such rounding does to its own outputs.

A quantized original rounds its activations to 8 bits, one of float16 to 11, and the imported network does not, so the
two differ far more than float32's rounding explains. The yardstick is the same as there: the imported network also runs
with all its activations rounded so, and the original may differ from it by at most SAFETY times as much, in the root
mean square over images and outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from models.importers.outputs import SOFTMAX, softmax
from models.importers.report import QuantizedComparison

if TYPE_CHECKING:
    from models.importers.outputs import Measure, Outputs

SAFETY = 2.0
LEAST_CORRELATION = 0.9
"""Least correlation of all outputs for the comparison to prove something: below, rounding covers what they say."""
CERTAIN_MARGIN = 0.1
"""Least difference of the two greatest probabilities from which the original is sure of its class."""
STEPS = 255.0


def compare_quantized(
    outputs: Outputs, batch: int, measure: Measure, bits: Literal[8, 16], has_classes: bool
) -> QuantizedComparison:
    """Compare outputs on one set of images."""
    original, exact, (own,) = outputs.original[batch], outputs.exact, outputs.rounded
    if measure is SOFTMAX:  # whose probabilities of few bits have no logarithm
        exact, own = softmax(exact), softmax(own)
        own = (own * STEPS).round() / STEPS if bits == 8 else own
    else:
        exact, own, original = measure.compute(exact), measure.compute(own), measure.read(original)
    rounding = _root_mean_square(own - exact)
    certain = _find_certain(original, measure is SOFTMAX) if has_classes else np.zeros(len(exact), bool)
    agreement = original.argmax(1) == exact.argmax(1)
    return QuantizedComparison(
        images=outputs.kind,
        batch=batch,
        count=len(exact),
        bits=bits,
        difference=_root_mean_square(original - exact),
        own_rounding=rounding,
        bound=SAFETY * rounding,
        correlation=correlate(original, exact),
        top1_agreement=float(agreement.mean()) if has_classes else None,
        certain_images=int(certain.sum()),
        certain_agreement=float(agreement[certain].mean()) if certain.any() else None,
    )


def _find_certain(original: np.ndarray, are_probabilities: bool) -> np.ndarray:
    probabilities = np.sort(original if are_probabilities else softmax(original), 1)
    if probabilities.shape[1] == 1:
        return np.zeros(len(probabilities), bool)
    certain: np.ndarray = probabilities[:, -1] - probabilities[:, -2] > CERTAIN_MARGIN
    return certain


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    """Correlate outputs (B, C) over images: Pearson's correlation of all of them, less each output's mean."""
    first, second = first - first.mean(0), second - second.mean(0)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0
