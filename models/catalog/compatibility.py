"""Compatibility rules: combinations of techniques that a recipe refuses, each with what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from models.catalog.activations import Sigmoid
from models.catalog.mixup import BatchAugmentation
from models.catalog.normalizations import BatchNorm
from models.catalog.quality import SHARED, list_candidates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.recipe import Recipe

MOST_IMAGES = 1024
"""Largest batch that goes through layers of the backbone."""


def conflicts(recipe: Recipe) -> Iterator[str]:
    """List incompatible choices of a recipe, each with what to change; values that are still `auto` are skipped."""
    yield from _data(recipe)
    yield from _memory(recipe)
    yield from _cache(recipe)
    yield from _engine(recipe)
    yield from _head(recipe)
    yield from _cut(recipe)
    yield from _pooling(recipe)
    yield from _pretraining(recipe)
    yield from _steps(recipe)
    yield from _weights(recipe)
    yield from _search(recipe)
    yield from _task(recipe)
    yield from _quality(recipe)


def _data(recipe: Recipe) -> Iterator[str]:
    if recipe.validation_fraction + recipe.test_fraction > 0.9:
        yield "validation_fraction and test_fraction leave less than a tenth to train on: make them smaller"
    loss = recipe.loss
    if recipe.sampling.kind == "balanced" and loss != "auto" and loss.class_weights == "auto":
        yield (
            "balanced sampling and loss.class_weights: auto both make up for rare classes, together twice: choose one"
        )


def _memory(recipe: Recipe) -> Iterator[str]:
    if recipe.batch_size == "auto" or recipe.batch_size <= MOST_IMAGES:
        return
    if recipe.cut.kind != "all" or not recipe.has_features:
        yield (
            f"each step takes {recipe.batch_size} images through layers of the backbone, more than fit into memory: "
            f"lower batch_size to {MOST_IMAGES} or less"
        )


def _engine(recipe: Recipe) -> Iterator[str]:
    if recipe.engine == "openvino" and recipe.precision == "exact":
        yield "openvino rounds otherwise than timm does: set precision to float32, or engine to eager"
    if recipe.engine == "openvino" and not recipe.has_features:
        yield (
            "engine openvino is for what is computed once, and nothing is: leave it at auto, or cache the features of "
            "frozen stages"
        )
    if recipe.precision == "bfloat16" and not recipe.has_features and not recipe.cut.trains:
        yield (
            "precision bfloat16 is for what is computed once, or trained, of the backbone, and nothing is: leave it at "
            "auto, or cache the features"
        )


def _cache(recipe: Recipe) -> Iterator[str]:
    if recipe.cache.mode != "on":
        return
    if recipe.cut.kind == "none":
        yield "cut: none leaves nothing that could be computed once: leave cache.mode out, or freeze some stages"
    if recipe.mixes_images:
        yield "cutmix mixes images, which a cache does not hold: set cache.mode to off, or take mixup"


def _head(recipe: Recipe) -> Iterator[str]:
    head = recipe.head
    if head.kind == "keep" and recipe.drop_stages:
        yield "head: keep needs the stages below the backbone's classifier: set drop_stages to 0, or head to linear"
    if head.kind == "cosine" and any(regularizer.kind == "max_norm" for regularizer in recipe.regularizers):
        yield "a cosine head's weights have a fixed length: leave max_norm out, and set head.scale"
    if recipe.starts_from_lda:
        yield from _lda(recipe)
    if head.kind != "mlp" or recipe.batch_size != 1:
        return
    if any(isinstance(layer.normalization, BatchNorm) for layer in head.layers):
        yield "batch_norm needs batches of at least 2 images: raise batch_size, or take layer_norm"


def _lda(recipe: Recipe) -> Iterator[str]:
    if recipe.loss != "auto" and recipe.loss.kind == "binary_cross_entropy":
        yield "LDA has logits of one label an image: take cross_entropy, or set head.start to zero"
    if not recipe.has_features and not recipe.cut.probe:
        yield "LDA needs features that are known before training: cache them, or set head.start to zero"


def _cut(recipe: Recipe) -> Iterator[str]:
    cut, epochs = recipe.cut, recipe.most_epochs
    if cut.kind == "gradual" and cut.every >= epochs:
        yield (
            f"cut.every is {cut.every} of {epochs} epochs, so no stage would ever be trained: raise epochs, or lower "
            "cut.every"
        )
    if cut.kind != "all" and cut.batch_norm == "trained" and recipe.batch_size == 1:
        yield "cut.batch_norm: trained needs batches of at least 2 images: raise batch_size, or leave it frozen"
    if cut.kind == "all" and recipe.tuning.kind != "full":
        yield (
            f"tuning: {recipe.tuning.kind} trains weights of stages above the cut, and cut: all leaves none there: "
            "set cut to none or top, or leave tuning out"
        )


def _pooling(recipe: Recipe) -> Iterator[str]:
    if recipe.pooling is None:
        return
    if recipe.cut.kind != "all":
        yield "pooling reads maps of frozen stages, and cut trains some: leave cut at all, or leave pooling out"
    if recipe.head.kind == "keep":
        yield "head: keep reads the features of the backbone's own pooling: set head to linear, or leave pooling out"


def _pretraining(recipe: Recipe) -> Iterator[str]:
    chosen, head = recipe.pretraining, recipe.head
    if chosen is None:
        return
    if recipe.cut.probe:
        yield "cut.probe trains the head on stages as they were before pretraining: leave out one of the two"
    if head.kind != "mlp" and (chosen.kind in ("autoencoder", "restricted_boltzmann_machine") or not recipe.cut.trains):
        yield f"pretraining: {chosen.kind} trains hidden layers, and there are none: set head to mlp"
    if chosen.kind == "restricted_boltzmann_machine" and head.kind == "mlp":
        if any(not isinstance(layer.activation, Sigmoid) for layer in head.layers):
            yield "the units of a restricted_boltzmann_machine are logistic: set head.activation to sigmoid"
        if any(layer.normalization is not None for layer in head.layers):
            yield "a restricted_boltzmann_machine's layers are σ(W·v + b) alone: set head.normalization to null"


def _steps(recipe: Recipe) -> Iterator[str]:
    warmup, epochs = recipe.schedule.warmup_epochs, recipe.most_epochs
    if warmup >= epochs:
        yield (
            f"schedule.warmup_epochs is {warmup:g} of {epochs} epochs, so the rate would never be reached: "
            "raise epochs, or lower schedule.warmup_epochs"
        )


def _weights(recipe: Recipe) -> Iterator[str]:
    kinds = [regularizer.kind for regularizer in recipe.regularizers]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        yield f"regularizers names {', '.join(twice)} more than once: give one, with the strength that you want"
    if recipe.optimizer.kind == "adamw" and "weight_decay" in kinds:
        yield "adamw decays the weights itself: leave weight_decay out of regularizers, or take adam"


def _search(recipe: Recipe) -> Iterator[str]:
    if recipe.search is None:
        return
    if recipe.head.kind != "linear":
        yield f"search tries linear heads, and head is {recipe.head.kind}: set head to linear, or leave search out"
    if recipe.cut.kind != "all" or not recipe.has_features:
        yield (
            "search needs features that stay as they are: set cut to all, leave cutmix out and cache.mode at auto, or "
            "leave search out"
        )


def _task(recipe: Recipe) -> Iterator[str]:
    loss = recipe.loss
    if recipe.task == "auto":
        return
    if loss != "auto" and recipe.task not in loss.tasks:
        yield f"{loss.kind} learns one label an image, and the task is {recipe.task}: take binary_cross_entropy"
    mixed = [a.model_dump()["kind"] for a in recipe.augmentations if isinstance(a, BatchAugmentation)]
    if recipe.task == "multi_label" and mixed:
        yield f"{' and '.join(mixed)} would blend yes and no of several labels: leave it out, the task is multi_label"
    if recipe.task == "multi_label" and recipe.head.kind == "keep":
        yield "head: keep trains a classifier of one label an image, and the task is multi_label: take linear"


def _quality(recipe: Recipe) -> Iterator[str]:
    if recipe.quality == "fast":
        return
    given = [
        name
        for name, field in type(recipe).model_fields.items()
        if name not in SHARED and getattr(recipe, name) != field.get_default(call_default_factory=True)
    ]
    if given:
        yield f"quality: {recipe.quality} chooses {', '.join(given)} itself: leave this out, or set quality to fast"
        return
    try:
        list_candidates(recipe)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        yield f"quality: {recipe.quality} trains the whole network too, and {reason}"
