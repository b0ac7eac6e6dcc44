"""Compatibility: incompatible choices are refused with advice, and similar compatible ones are accepted."""

from __future__ import annotations

import ast
import inspect
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from models.catalog import compatibility
from models.catalog.recipe import Recipe

MLP = {"kind": "mlp", "hidden": [8, 8]}
NORMALIZED = {**MLP, "normalization": "batch_norm"}
OWN_NORMS = [{"width": 8, "normalization": "layer_norm"}, {"width": 8, "normalization": None}]
LOGISTIC = {**MLP, "activation": "sigmoid"}
BALANCED = {"sampling": "balanced", "loss": {"class_weights": "auto"}}
SEVERAL = {"task": "multi_label"}


class Refusal(NamedTuple):
    """A recipe that is refused, its message, and similar recipes that are accepted."""

    recipe: dict[str, Any]
    message: str
    near_misses: list[dict[str, Any]]


REFUSALS = {
    "nothing to train on": Refusal(
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        "validation_fraction and test_fraction leave less than a tenth to train on: make them smaller",
        [{"validation_fraction": 0.45, "test_fraction": 0.45}, {"validation_fraction": 0.8, "test_fraction": 0.1}],
    ),
    "balanced twice": Refusal(
        BALANCED,
        "balanced sampling and loss.class_weights: auto both make up for rare classes, together twice: choose one",
        [{**BALANCED, "sampling": "shuffled"}, {**BALANCED, "loss": {"class_weights": {"a": 2.0}}}],
    ),
    "nothing to cache": Refusal(
        {"cut": "none", "cache": {"mode": "on"}},
        "cut: none leaves nothing that could be computed once: leave cache.mode out, or freeze some stages",
        [{"cut": "none"}, {"cut": "none", "cache": {"mode": "off"}}, {"cut": "top", "cache": {"mode": "on"}}],
    ),
    "images mixed from a cache": Refusal(
        {"augmentations": ["crop", "cutmix"], "cache": {"mode": "on"}},
        "cutmix mixes images, which a cache does not hold: set cache.mode to off, or take mixup",
        [{"augmentations": ["crop", "cutmix"]}, {"augmentations": ["crop", "mixup"], "cache": {"mode": "on"}}],
    ),
    "exact but compiled": Refusal(
        {"engine": "openvino", "precision": "exact"},
        "openvino rounds otherwise than timm does: set precision to float32, or engine to eager",
        [{"engine": "openvino", "precision": "float32"}, {"engine": "eager", "precision": "exact"}],
    ),
    "an engine for nothing": Refusal(
        {"engine": "openvino", "cut": "none"},
        "engine openvino is for what is computed once, and nothing is: leave it at auto, or cache the features of "
        "frozen stages",
        [{"engine": "openvino", "cut": "top"}, {"engine": "eager", "cut": "none"}],
    ),
    "rounding for nothing": Refusal(
        {"precision": "bfloat16", "cache": {"mode": "off"}},
        "precision bfloat16 is for what is computed once, or trained, of the backbone, and nothing is: leave it at "
        "auto, or cache the features",
        [{"precision": "bfloat16", "cut": "none"}, {"precision": "exact", "cache": {"mode": "off"}}],
    ),
    "maps of trained stages": Refusal(
        {"pooling": "depths", "cut": "top"},
        "pooling reads maps of frozen stages, and cut trains some: leave cut at all, or leave pooling out",
        [{"pooling": "depths", "drop_stages": 1}, {"cut": "top"}],
    ),
    "other features than the kept classifier's": Refusal(
        {"pooling": "depths", "head": "keep"},
        "head: keep reads the features of the backbone's own pooling: set head to linear, or leave pooling out",
        [{"pooling": "depths", "head": "mlp"}, {"head": "keep"}],
    ),
    "norms trained on one image": Refusal(
        {"cut": {"kind": "top", "batch_norm": "trained"}, "batch_size": 1},
        "cut.batch_norm: trained needs batches of at least 2 images: raise batch_size, or leave it frozen",
        [
            {"cut": {"kind": "top", "batch_norm": "trained"}, "batch_size": 2},
            {"cut": "top", "batch_size": 1},
        ],
    ),
    "tuning of nothing": Refusal(
        {"tuning": "lora"},
        "tuning: lora trains weights of stages above the cut, and cut: all leaves none there: set cut to none or top, "
        "or leave tuning out",
        [{"tuning": "lora", "cut": "top"}, {"tuning": "norm_only", "cut": "none"}, {"tuning": "full"}],
    ),
    "quality with a cut and a head": Refusal(
        {"quality": "balanced", "cut": "none", "head": "mlp"},
        "quality: balanced chooses cut, head itself: leave this out, or set quality to fast",
        [{"quality": "balanced"}, {"quality": "best", "image_size": 64}, {"quality": "fast", "cut": "none"}],
    ),
    "quality with batches of one image": Refusal(
        {"quality": "best", "batch_size": 1},
        "quality: best trains the whole network too, and cut.batch_norm: trained needs batches of at least 2 "
        "images: raise batch_size, or leave it frozen",
        [{"quality": "best", "batch_size": 2}, {"quality": "fast", "batch_size": 1}],
    ),
    "keep without its stages": Refusal(
        {"head": "keep", "drop_stages": 1},
        "head: keep needs the stages below the backbone's classifier: set drop_stages to 0, or head to linear",
        [{"head": "keep"}, {"head": "linear", "drop_stages": 1}],
    ),
    "LDA of several labels": Refusal(
        {"head": {"start": "lda"}, "loss": "binary_cross_entropy"},
        "LDA has logits of one label an image: take cross_entropy, or set head.start to zero",
        [{"head": {"start": "lda"}, "loss": "focal"}, {"loss": "binary_cross_entropy"}],
    ),
    "LDA of nothing": Refusal(
        {"head": {"start": "lda"}, "cut": "none"},
        "LDA needs features that are known before training: cache them, or set head.start to zero",
        [
            {"head": {"start": "lda"}, "cut": {"kind": "none", "probe": True}},
            {"head": {"start": "zero"}, "cache": "off"},
        ],
    ),
    "two lengths": Refusal(
        {"head": "cosine", "regularizers": ["max_norm"]},
        "a cosine head's weights have a fixed length: leave max_norm out, and set head.scale",
        [{"head": "cosine", "regularizers": ["l2"]}, {"head": "mlp", "regularizers": ["max_norm"]}],
    ),
    "a batch of one": Refusal(
        {"head": NORMALIZED, "batch_size": 1},
        "batch_norm needs batches of at least 2 images: raise batch_size, or take layer_norm",
        [
            {"head": NORMALIZED, "batch_size": 2},
            {"head": NORMALIZED},
            {"head": {**NORMALIZED, "normalization": "layer_norm"}, "batch_size": 1},
            {"head": {**NORMALIZED, "hidden": OWN_NORMS}, "batch_size": 1},
            {"head": MLP, "batch_size": 1},
            {"head": "linear", "batch_size": 1},
        ],
    ),
    "a batch of one for one layer": Refusal(
        {"head": {**MLP, "hidden": [8, {"normalization": "batch_norm"}]}, "batch_size": 1},
        "batch_norm needs batches of at least 2 images: raise batch_size, or take layer_norm",
        [{"head": {**MLP, "hidden": [8, {"normalization": "batch_norm"}]}, "batch_size": 2}],
    ),
    "a probe of the stages before": Refusal(
        {"cut": {"kind": "top", "probe": True}, "pretraining": "rotation"},
        "cut.probe trains the head on stages as they were before pretraining: leave out one of the two",
        [{"cut": "top", "pretraining": "rotation"}, {"cut": {"kind": "top", "probe": True}}],
    ),
    "no layers for an autoencoder": Refusal(
        {"pretraining": "autoencoder"},
        "pretraining: autoencoder trains hidden layers, and there are none: set head to mlp",
        [{"pretraining": "autoencoder", "head": MLP}],
    ),
    "no layers for a machine though stages are trained": Refusal(
        {"pretraining": "restricted_boltzmann_machine", "cut": "top"},
        "pretraining: restricted_boltzmann_machine trains hidden layers, and there are none: set head to mlp",
        [{"pretraining": "restricted_boltzmann_machine", "cut": "top", "head": LOGISTIC}],
    ),
    "nothing to learn turns with": Refusal(
        {"pretraining": "rotation"},
        "pretraining: rotation trains hidden layers, and there are none: set head to mlp",
        [{"pretraining": "rotation", "head": MLP}, {"pretraining": "rotation", "cut": "top"}],
    ),
    "nothing to learn other labels with": Refusal(
        {"pretraining": {"kind": "other_labels", "dataset": "ds_1"}, "head": "cosine"},
        "pretraining: other_labels trains hidden layers, and there are none: set head to mlp",
        [{"pretraining": {"kind": "other_labels", "dataset": "ds_1"}, "head": "cosine", "cut": "none"}],
    ),
    "units that are not logistic": Refusal(
        {"pretraining": "restricted_boltzmann_machine", "head": MLP},
        "the units of a restricted_boltzmann_machine are logistic: set head.activation to sigmoid",
        [
            {"pretraining": "restricted_boltzmann_machine", "head": LOGISTIC},
            {"pretraining": "autoencoder", "head": MLP},
            {"pretraining": "restricted_boltzmann_machine", "head": {**MLP, "hidden": [{"activation": "sigmoid"}]}},
        ],
    ),
    "one layer that is not logistic": Refusal(
        {"pretraining": "restricted_boltzmann_machine", "head": {**LOGISTIC, "hidden": [8, {"activation": "tanh"}]}},
        "the units of a restricted_boltzmann_machine are logistic: set head.activation to sigmoid",
        [],
    ),
    "a machine with norms": Refusal(
        {"pretraining": "restricted_boltzmann_machine", "head": {**LOGISTIC, "normalization": "layer_norm"}},
        "a restricted_boltzmann_machine's layers are σ(W·v + b) alone: set head.normalization to null",
        [
            {"pretraining": "autoencoder", "head": {**LOGISTIC, "normalization": "layer_norm"}},
            {
                "pretraining": "restricted_boltzmann_machine",
                "head": {**LOGISTIC, "normalization": "layer_norm", "hidden": [{"normalization": None}]},
            },
        ],
    ),
    "warm for ever": Refusal(
        {"schedule": {"kind": "cosine", "warmup_epochs": 5}, "epochs": 5},
        "schedule.warmup_epochs is 5 of 5 epochs, so the rate would never be reached: "
        "raise epochs, or lower schedule.warmup_epochs",
        [
            {"schedule": {"kind": "cosine", "warmup_epochs": 5}, "epochs": 6},
            {"schedule": {"kind": "cosine", "warmup_epochs": 4.5}, "epochs": 5},
            {"schedule": {"kind": "cosine", "warmup_epochs": 5}},
        ],
    ),
    "warm for as long as auto trains": Refusal(
        {"schedule": {"warmup_epochs": 200}},
        "schedule.warmup_epochs is 200 of 200 epochs, so the rate would never be reached: "
        "raise epochs, or lower schedule.warmup_epochs",
        [{"schedule": {"warmup_epochs": 199}}, {"schedule": {"warmup_epochs": 200}, "epochs": 201}],
    ),
    "warm for as long as auto trains a whole backbone": Refusal(
        {"cut": "none", "schedule": {"warmup_epochs": 20}},
        "schedule.warmup_epochs is 20 of 20 epochs, so the rate would never be reached: "
        "raise epochs, or lower schedule.warmup_epochs",
        [{"cut": "none", "schedule": {"warmup_epochs": 19}}, {"schedule": {"warmup_epochs": 20}}],
    ),
    "no stage is ever unfrozen": Refusal(
        {"cut": {"kind": "gradual", "every": 8}, "epochs": 8},
        "cut.every is 8 of 8 epochs, so no stage would ever be trained: raise epochs, or lower cut.every",
        [{"cut": {"kind": "gradual", "every": 7}, "epochs": 8}, {"cut": {"kind": "gradual", "every": 8}}],
    ),
    "more images at once than memory holds": Refusal(
        {"batch_size": 1025, "cache": {"mode": "off"}},
        "each step takes 1025 images through layers of the backbone, more than fit into memory: "
        "lower batch_size to 1024 or less",
        [{"batch_size": 1025}, {"batch_size": 1024, "cache": {"mode": "off"}}, {"batch_size": 1024, "cut": "none"}],
    ),
    "more images at once than memory holds, unfrozen": Refusal(
        {"batch_size": 2048, "cut": "top"},
        "each step takes 2048 images through layers of the backbone, more than fit into memory: "
        "lower batch_size to 1024 or less",
        [],
    ),
    "more images at once than memory holds, mixed": Refusal(
        {"batch_size": 2048, "augmentations": ["cutmix"]},
        "each step takes 2048 images through layers of the backbone, more than fit into memory: "
        "lower batch_size to 1024 or less",
        [{"batch_size": 2048, "augmentations": ["mixup"]}],
    ),
    "the same regularizer twice": Refusal(
        {"regularizers": ["l1", "l2", {"kind": "l1", "strength": 0.1}]},
        "regularizers names l1 more than once: give one, with the strength that you want",
        [{"regularizers": ["l1", "l2", "weight_decay", "max_norm"]}, {"regularizers": []}],
    ),
    "decay twice": Refusal(
        {"optimizer": "adamw", "regularizers": ["weight_decay"]},
        "adamw decays the weights itself: leave weight_decay out of regularizers, or take adam",
        [{"optimizer": "adam", "regularizers": ["weight_decay"]}, {"optimizer": "adamw", "regularizers": ["l1"]}],
    ),
    "one label where there are several": Refusal(
        {**SEVERAL, "loss": "focal"},
        "focal learns one label an image, and the task is multi_label: take binary_cross_entropy",
        [
            {**SEVERAL, "loss": "binary_cross_entropy"},
            {**SEVERAL, "loss": "auto"},
            {"task": "single_label", "loss": "binary_cross_entropy"},
            {"loss": "focal"},
        ],
    ),
    "several labels mixed": Refusal(
        {**SEVERAL, "augmentations": ["mixup", "crop", "cutmix"]},
        "mixup and cutmix would blend yes and no of several labels: leave it out, the task is multi_label",
        [
            {**SEVERAL, "augmentations": ["crop", "feature_noise"]},
            {"task": "single_label", "augmentations": ["mixup", "cutmix"]},
            {"augmentations": ["mixup"]},
        ],
    ),
    "a kept classifier for several labels": Refusal(
        {**SEVERAL, "head": "keep"},
        "head: keep trains a classifier of one label an image, and the task is multi_label: take linear",
        [{**SEVERAL, "head": "linear"}, {"task": "single_label", "head": "keep"}],
    ),
    "a search over other heads": Refusal(
        {"search": {}, "head": {"kind": "mlp", "hidden": [8]}},
        "search tries linear heads, and head is mlp: set head to linear, or leave search out",
        [{"search": {}, "head": "linear"}, {"head": "mlp"}],
    ),
    "a search over features that change": Refusal(
        {"search": {}, "cut": {"kind": "stage", "name": "blocks.4"}},
        "search needs features that stay as they are: set cut to all, leave cutmix out and cache.mode at auto, or "
        "leave search out",
        [{"search": {}, "augmentations": ["mixup"]}, {"search": {}, "cache": "on"}, {**SEVERAL, "search": {}}],
    ),
}

by_name = pytest.mark.parametrize("name", REFUSALS)


@by_name
def test_an_incompatible_recipe_is_refused_with_advice(name: str) -> None:
    refusal = REFUSALS[name]
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(refusal.recipe)
    (error,) = refused.value.errors()
    assert error["msg"] == f"Value error, {refusal.message}"


@by_name
def test_similar_compatible_recipes_are_accepted(name: str) -> None:
    for recipe in REFUSALS[name].near_misses:
        Recipe.model_validate(recipe)


def _fragments(rule: ast.AST) -> list[str]:
    """Strip the names from a rule's message."""
    return [node.value for node in ast.walk(rule) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_every_rule_is_tested() -> None:
    rules = [rule for rule in ast.walk(ast.parse(inspect.getsource(compatibility))) if isinstance(rule, ast.Yield)]
    assert rules
    for rule in rules:
        message = [part for part in _fragments(rule) if part not in ("g", ", ", " and ")]
        assert any(all(part in refusal.message for part in message) for refusal in REFUSALS.values()), message


def test_one_error_lists_all_incompatible_choices() -> None:
    with pytest.raises(ValidationError, match=r"leave max_norm out, and set head\.scale; schedule\.warmup_epochs is 9"):
        Recipe.model_validate(
            {"head": "cosine", "regularizers": ["max_norm"], "schedule": {"warmup_epochs": 9}, "epochs": 3}
        )


def test_choices_that_do_not_fit_the_task_are_refused_once_it_is_known() -> None:
    recipe = Recipe.model_validate({"loss": "focal", "augmentations": ["mixup"], "head": "keep"})
    assert recipe.for_task("single_label").task == "single_label"
    with pytest.raises(ValueError, match=r"focal learns one label.*mixup would blend.*head: keep trains"):
        recipe.for_task("multi_label")
