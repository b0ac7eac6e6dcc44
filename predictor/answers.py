"""Answers of models: logits become classes with probabilities."""

from __future__ import annotations

from itertools import compress
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.evaluation.metrics import compute_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from predictor.plan import Outputs


class TopClasses(NamedTuple):
    """The most probable classes of each image by each model of a group, both (images, models, k)."""

    indices: np.ndarray
    probabilities: np.ndarray


def choose_top(logits: np.ndarray, top_k: int, *, is_multi_label: bool) -> TopClasses:
    """Choose the `top_k` greatest of logits (images, models, C), and compute their probabilities.

    Softmax of all classes; sigmoid of each where an image may have several. Of equal logits the first class is first.
    """
    order = logits.argmax(-1)[..., None] if top_k == 1 else np.argsort(-logits, axis=-1, kind="stable")
    indices = order[..., :top_k]
    chosen = np.take_along_axis(logits, indices, -1).astype(np.float64)
    if is_multi_label:
        return TopClasses(indices, compute_probabilities(chosen, is_multi_label=True))
    return TopClasses(indices, np.exp(chosen - _sum_powers(_put_models_last(logits))[..., None]))


def choose_all(outputs: Outputs, top_k: int) -> list[TopClasses]:
    """Choose the top classes of each group of a plan."""
    return [
        choose_top(values, top_k, is_multi_label=group.is_multi_label)
        for group, values in zip(outputs.plan.groups, outputs.logits, strict=True)
    ]


def make_all_sets(outputs: Outputs, coverage: float) -> list[np.ndarray]:
    """Make the prediction sets of each group, masks (images, models, C); empty for models without statistics."""
    plan, made = outputs.plan, []
    thresholds = plan.find_thresholds(coverage)
    for group, logits, temperatures, greatest in zip(
        plan.groups, outputs.logits, plan.temperatures, thresholds, strict=True
    ):
        raw = _put_models_last(logits)
        raw *= temperatures
        costs = np.logaddexp(0, -raw) if group.is_multi_label else _sum_powers(raw)[:, None] - raw
        made.append((costs <= greatest).transpose(0, 2, 1))
    return made


def _put_models_last(logits: np.ndarray) -> np.ndarray:
    """Copy logits (images, models, C) to (images, C, models), float64: models are many, and classes mostly few."""
    copied: np.ndarray = logits.transpose(0, 2, 1).astype(np.float64, order="C")
    return copied


def _sum_powers(logits: np.ndarray) -> np.ndarray:
    """Compute log Σ exp over the classes of logits (images, C, models): (images, models)."""
    greatest = logits.max(1)
    sums: np.ndarray = greatest + np.log(np.exp(logits - greatest[:, None]).sum(1))
    return sums


def describe_image(
    outputs: Outputs, chosen: Sequence[TopClasses], sets: Sequence[np.ndarray], image: int
) -> list[dict[str, Any]]:
    """Describe the predictions for one image, in the order of the plan's models."""
    plan, novelties = outputs.plan, outputs.novelties[image].tolist()
    described: list[dict[str, Any]] = [{}] * len(plan.models)
    for group, top, masks in zip(plan.groups, chosen, sets, strict=True):
        found = (top.indices[image].tolist(), top.probabilities[image].tolist(), masks[image].tolist())
        for place, indices, probabilities, mask in zip(group.places, *found, strict=True):
            model = plan.models[place]
            score = None if isnan(novelties[place]) else novelties[place]
            classes = [
                {"name": model.classes[index], "probability": probability}
                for index, probability in zip(indices, probabilities, strict=True)
            ]
            described[place] = {
                "checkpoint": model.checkpoint,
                "classes": classes,
                "set": None if model.statistics is None else list(compress(model.classes, mask)),
                "unlike_training": None if score is None else score > 1,
                "score": score,
            }
    return described
