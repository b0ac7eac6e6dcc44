"""Prediction statistics of a checkpoint: what its prediction sets and novelty detection need, in a few kilobytes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.evaluation import conformal, novelty
from models.evaluation.novelty import ClassStatistics

VERSION = 1
"""Version of the format: raise it when the numbers get another meaning."""


class StatisticsUnreadable(Exception):
    """The bytes are damaged, or were written by a newer version of Graft."""


@dataclass(frozen=True)
class PredictionStatistics:
    """Held-out scores and class statistics of one model."""

    held_out: int
    """Number of held-out images."""
    scores: np.ndarray
    """Their conformal scores that are kept, in order."""
    temperature: float
    """By which the delivered network's logits are to be multiplied: sets are made of raw ones."""
    is_multi_label: bool
    classes: ClassStatistics

    @property
    def size(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in (self.scores, self.classes.means, self.classes.directions))

    def make_sets(self, logits: np.ndarray, coverage: float) -> np.ndarray:
        """Make the prediction sets of images from the delivered network's logits (n, C): a mask (n, C)."""
        threshold = conformal.find_threshold(self.scores, self.held_out, coverage)
        raw = logits.astype(float) * self.temperature
        return conformal.make_sets(raw, threshold, is_multi_label=self.is_multi_label)

    def to_bytes(self) -> bytes:
        """Serialize them as a safetensors file."""
        facts = {
            "version": VERSION,
            "held_out": self.held_out,
            "temperature": self.temperature,
            "is_multi_label": self.is_multi_label,
            "mean_unit": self.classes.mean_unit,
            "direction_unit": self.classes.direction_unit,
            "threshold": self.classes.threshold,
        }
        arrays = {"scores": self.scores, "means": self.classes.means, "directions": self.classes.directions}
        # The library writes arrays as they lie in memory, whatever their strides.
        rows = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        content: bytes = save(rows, {"graft": json.dumps(facts)})
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> PredictionStatistics:
        """Read what `to_bytes` has written; raises StatisticsUnreadable."""
        try:
            arrays = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["graft"])
            if facts["version"] > VERSION:
                raise StatisticsUnreadable(f"they have version {facts['version']}, this Graft reads {VERSION}")
            return cls(
                held_out=facts["held_out"],
                scores=arrays["scores"],
                temperature=facts["temperature"],
                is_multi_label=facts["is_multi_label"],
                classes=ClassStatistics(
                    arrays["means"],
                    facts["mean_unit"],
                    arrays["directions"],
                    facts["direction_unit"],
                    facts["threshold"],
                ),
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise StatisticsUnreadable(f"the bytes are damaged ({error})") from error


def measure(
    raw_logits: np.ndarray,
    labels: np.ndarray,
    temperature: float,
    features: np.ndarray,
    training: tuple[np.ndarray, np.ndarray],
) -> PredictionStatistics:
    """Measure the statistics of a model.

    Args:
        raw_logits: of the held-out images before they are divided by the temperature, (n, C).
        labels: of the held-out images, (n,) or multi-hot (n, C).
        temperature: of the delivered network.
        features: of the held-out images, projected, (n, d).
        training: projected features of training images, and their labels.
    """
    scores = conformal.compute_scores(raw_logits, labels)
    return PredictionStatistics(
        held_out=len(scores),
        scores=conformal.keep_scores(scores),
        temperature=temperature,
        is_multi_label=labels.ndim == 2,
        classes=novelty.fit(*training, features),
    )
