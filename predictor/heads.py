"""Models above a trunk: heads, and trained stages below them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call

from predictor.head_matrix import Rows, multiply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.evaluation.prediction_statistics import PredictionStatistics


@dataclass(frozen=True, eq=False)
class Top:
    """Trained stages of one checkpoint: the layers of its structure, and its own tensors."""

    layers: nn.Module
    tensors: Mapping[str, torch.Tensor]

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Compute features (B, D) from values at the cut."""
        features: torch.Tensor = functional_call(self.layers, dict(self.tensors), (values,))
        return features


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint above its trunk."""

    checkpoint: str
    classes: Sequence[str]
    is_multi_label: bool
    head: Rows | nn.Module
    top: Top | None = None
    statistics: PredictionStatistics | None = None
    """For prediction sets and novelty; a checkpoint of an earlier release has none."""
    has_novelty: bool = True
    """Whether the features below its head are those that the statistics were measured on."""

    @property
    def own_bytes(self) -> int:
        """Bytes of the head outside of a matrix, of trained stages, and of statistics."""
        head = self.head.state_dict().values() if isinstance(self.head, nn.Module) else ()
        top = () if self.top is None else self.top.tensors.values()
        statistics = 0 if self.statistics is None else self.statistics.size
        return statistics + sum(int(tensor.nbytes) for tensor in (*head, *top))

    def compute(self, values: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C) from values at the cut, in single precision."""
        if isinstance(self.head, Rows):
            return multiply(values, self.head)
        logits: torch.Tensor = self.head(values if self.top is None else self.top(values))
        return logits
