"""Plan of the computation for some models of one trunk: values at the cut become logits and novelties.

Heads of one block of the matrix are computed by one product in half precision, where many of them are asked for. Its
rounding is estimated, and logits that could be those of the label are computed once more in single precision.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from models.evaluation.conformal import find_threshold
from models.evaluation.novelty import StackedStatistics, multiply_by, project
from predictor import packed_matrix
from predictor.head_matrix import Rows

if TYPE_CHECKING:
    from models.evaluation.novelty import Multiply
    from models.evaluation.prediction_statistics import PredictionStatistics
    from predictor.head_matrix import Block
    from predictor.heads import Model
    from predictor.packed_matrix import PackedMatrix

LEAST_PACKED = 256
"""Fewest rows of heads from which on half precision is worthwhile: those of a few models stay in the cache anyway."""
SHARE = 1 / 8
"""Share of a block's rows from which on one product with all of it is quicker than one with each head."""


@dataclass
class Group:
    """Models of a request with the same number of classes and the same task."""

    is_multi_label: bool
    places: list[int] = field(default_factory=list)
    """Positions of the models in the request."""
    columns: list[int] = field(default_factory=list)
    """Columns of their logits among those of all models."""
    select: slice | np.ndarray = field(default_factory=lambda: slice(0))
    """The columns, for selecting them."""
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """Of each model: leads may be wrong by this times the length of the features (`measure_lengths`)."""
    heads: list[Rows | None] = field(default_factory=list)
    """Of each model: its rows, which are computed in half precision; None for one that is computed by itself."""

    def measure_leads(self, logits: np.ndarray) -> np.ndarray:
        """Measure how far each label is from another one: logits (B, models, C) → (B, models)."""
        if self.is_multi_label:
            nearest: np.ndarray = np.abs(logits).min(-1)
            return nearest
        if logits.shape[-1] == 1:
            return np.full(logits.shape[:2], np.inf, np.float32)
        greatest = np.partition(logits, -2, axis=-1)
        leads: np.ndarray = greatest[..., -1] - greatest[..., -2]
        return leads

    def find_contenders(self, logits: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """Find the logits (n, C) whose change by `slack`, (n,), could change the label: a mask (n, C)."""
        distances = np.abs(logits) if self.is_multi_label else logits.max(1, keepdims=True) - logits
        contenders: np.ndarray = distances <= slack[:, None]
        return contenders

    def compute_singly(
        self, features: np.ndarray, numbers: np.ndarray, contenders: np.ndarray, logits: np.ndarray
    ) -> None:
        """Compute logits (n, C) of some of the models in single precision, where a mask says so, from features (D,)."""
        by_block: dict[Block, list[int]] = defaultdict(list)
        heads = [self.heads[number] for number in numbers.tolist()]
        for place, head in enumerate(heads):
            assert head is not None  # by itself it is computed in single precision already
            by_block[head.block].append(place)
        starts = np.array([head.start for head in heads if head is not None])
        for block, places in by_block.items():
            chosen, classes = np.nonzero(contenders[places])
            models = np.array(places)[chosen]
            logits[models, classes] = block.multiply_rows(features, starts[models] + classes)


class Plan:
    """Order of computation for some models of one trunk: values at the cut → logits, group by group."""

    def __init__(self, models: tuple[Model, ...], device: torch.device) -> None:
        self.models, self._device = models, device
        self._products: list[PackedMatrix | Model] = []
        self._statistics = self._stack_statistics()
        self._above = [
            (place, model.top, model.statistics.classes)
            for place, model in enumerate(models)
            if model.top is not None and model.statistics is not None and model.has_novelty
        ]
        """Models whose novelty is measured above trained stages of their own."""
        self._thresholds: dict[float, list[np.ndarray]] = {}
        errors = np.zeros(len(models), np.float32)
        starts = self._plan_products(errors)
        groups: dict[tuple[int, bool], Group] = {}
        for place, model in enumerate(models):
            count = len(model.classes)
            group = groups.setdefault((count, model.is_multi_label), Group(model.is_multi_label))
            group.places.append(place)
            group.columns += range(starts[place], starts[place] + count)
        self.groups = list(groups.values())
        for group in self.groups:
            first, last = group.columns[0], group.columns[-1] + 1
            is_range = group.columns == list(range(first, last))
            group.errors = errors[group.places]
            group.select = slice(first, last) if is_range else np.array(group.columns)
            heads = (models[place].head for place in group.places)
            group.heads = [head if isinstance(head, Rows) else None for head in heads]
        self.temperatures = [
            np.array([1.0 if each is None else each.temperature for each in self._list_statistics(group)])
            for group in self.groups
        ]
        """By which each group's logits are multiplied to be raw ones."""

    def _plan_products(self, errors: np.ndarray) -> dict[int, int]:
        """Plan the products, and write each model's rounding to `errors`.

        Returns where each model's logits begin among all that they give.
        """
        starts: dict[int, int] = {}
        by_block: dict[Block, list[tuple[int, Rows]]] = defaultdict(list)
        alone = []
        for place, model in enumerate(self.models):
            if isinstance(model.head, Rows):
                by_block[model.head.block].append((place, model.head))
            else:
                alone.append(place)
        rows = sum(head.stop - head.start for heads in by_block.values() for _, head in heads)
        end = 0
        for block, heads in by_block.items():
            wanted = sum(head.stop - head.start for _, head in heads)
            packed = block.pack() if rows >= LEAST_PACKED and wanted >= SHARE * block.used else None
            if packed is None:
                alone += [place for place, _ in heads]
                continue
            self._products.append(packed)
            for place, head in heads:
                starts[place] = end + head.start
                # The roundings of two rows are independent of each other.
                errors[place] = math.sqrt(2) * float(packed.errors[head.start : head.stop].max())
            end += len(packed.errors)
        for place in alone:
            self._products.append(self.models[place])
            starts[place] = end
            end += len(self.models[place].classes)
        return starts

    def compute(self, values: torch.Tensor) -> list[np.ndarray]:
        """Compute the logits of each group, (B, models, C), from values at the cut (B, …)."""
        parts = [
            product.multiply(values) if isinstance(product, packed_matrix.PackedMatrix) else product.compute(values)
            for product in self._products
        ]
        logits = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).float().cpu().numpy()
        return [logits[:, group.select].reshape(len(logits), len(group.places), -1) for group in self.groups]

    def refine(self, values: np.ndarray, logits: list[np.ndarray], bounds: list[np.ndarray]) -> list[np.ndarray]:
        """Compute logits in single precision that the heads' rounding, and bounds, let be the label's; returns leads.

        Args:
            values: at the cut, (B, …).
            logits: of each group, (B, models, C), which are changed.
            bounds: of each group, by which leads may be wrong for other reasons, (B, models).
        """
        rows = values.reshape(len(values), -1)
        lengths = packed_matrix.measure_lengths(rows)[:, None]
        leads = []
        for group, found, bound in zip(self.groups, logits, bounds, strict=True):
            slack = bound + group.errors * lengths
            of_group = group.measure_leads(found)
            near = (of_group <= slack) & (group.errors > 0)
            for image in np.flatnonzero(near.any(1)).tolist():
                numbers = np.flatnonzero(near[image])
                refined = found[image, numbers]
                contenders = group.find_contenders(refined, slack[image, numbers])
                group.compute_singly(rows[image], numbers, contenders, refined)
                found[image, numbers] = refined
                of_group[image, numbers] = group.measure_leads(refined[None])[0]
            leads.append(of_group)
        return leads

    def measure_novelty(self, values: torch.Tensor) -> np.ndarray:
        """Measure the novelty of each image for each model, (B, models); NaN where a model has no statistics."""
        found = np.full((len(values), len(self.models)), np.nan)
        if self._statistics is not None:
            places, stacked = self._statistics
            found[:, places] = stacked.measure(project(values.float().cpu().numpy()))
        for place, top, classes in self._above:
            projected = project(top(values).float().cpu().numpy())
            found[:, place] = StackedStatistics([classes]).measure(projected)[:, 0]
        return found

    def find_thresholds(self, coverage: float) -> list[np.ndarray]:
        """Find the greatest -log p of each group's models' prediction sets, (models,); -∞ without statistics."""
        if coverage not in self._thresholds:
            self._thresholds.clear()
            self._thresholds[coverage] = [
                np.array(
                    [
                        -np.inf if each is None else find_threshold(each.scores, each.held_out, coverage)
                        for each in self._list_statistics(group)
                    ]
                )
                for group in self.groups
            ]
        return self._thresholds[coverage]

    def _list_statistics(self, group: Group) -> list[PredictionStatistics | None]:
        return [self.models[place].statistics for place in group.places]

    def _stack_statistics(self) -> tuple[np.ndarray, StackedStatistics] | None:
        """Stack the statistics of the models that stand on the trunk itself."""
        pairs = [
            (place, model.statistics.classes)
            for place, model in enumerate(self.models)
            if model.statistics is not None and model.has_novelty and model.top is None
        ]
        if not pairs:
            return None
        places = np.array([place for place, _ in pairs])
        return places, StackedStatistics([each for _, each in pairs], multiply_packed)


def multiply_packed(matrix: np.ndarray) -> Multiply:
    """Make the product with a matrix (rows, d), in half precision where it is large."""
    weight = torch.from_numpy(matrix)
    packed = packed_matrix.pack(weight, torch.zeros(len(weight))) if len(weight) >= LEAST_PACKED else None
    return multiply_by(matrix) if packed is None else lambda rows: packed.multiply(torch.from_numpy(rows)).numpy()


class Outputs(NamedTuple):
    """Outputs for images: the logits of each group of a plan, (images, models, C), and novelties (images, models)."""

    plan: Plan
    logits: list[np.ndarray]
    novelties: np.ndarray
    is_finite: np.ndarray
    """False for images whose features are not finite, which have no answer, (images,)."""
    values: np.ndarray
    """At the cut, (images, …)."""

    def take(self, start: int, stop: int) -> Outputs:
        """Take some of the images."""
        logits = [group[start:stop] for group in self.logits]
        return Outputs(
            self.plan, logits, self.novelties[start:stop], self.is_finite[start:stop], self.values[start:stop]
        )
