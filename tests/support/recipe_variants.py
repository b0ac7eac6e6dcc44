"""Recipes for tests: each technique with the fields that it needs, and as little else as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.catalog.families import FAMILIES
from models.catalog.technique import members

if TYPE_CHECKING:
    from models.catalog.technique import Technique

TECHNIQUES = [(family, technique) for family, union in FAMILIES.items() for technique in members(union)]
"""Every technique of the catalog, with the name of its family."""
NAMES = [f"{family}-{technique.__name__}" for family, technique in TECHNIQUES]
"""Their names, for pytest."""

DATA: dict[str, Any] = {
    "task": "single_label",
    "image_size": 224,
    "num_features": 1280,
    "class_counts": {"a": 300, "b": 100},
    "images": 400,
}
"""Facts of a dataset and a backbone, to resolve a recipe for."""


def recipe_with(family: str, technique: type[Technique]) -> dict[str, Any]:
    """Make the JSON of a recipe that uses a technique with its defaults."""
    return placed(family, example(technique).model_dump(mode="json"))


def example(technique: type[Technique], **known: str) -> Technique:
    """Make a technique with its defaults; a required field gets its example, or the value that is `known`."""
    required = {name: field.examples[0] for name, field in technique.model_fields.items() if field.is_required()}
    return technique.model_validate({name: known.get(name, value) for name, value in required.items()})


def placed(family: str, given: Any) -> dict[str, Any]:
    """Put the JSON of a technique, or its kind alone, into the recipe's field of its family."""
    return {"epochs": 6, "batch_size": 8, "cache": {"views": 1}, **_place(family, given)}


def _place(family: str, given: Any) -> dict[str, Any]:
    match family:
        case "activations" | "initializers" | "normalizations":
            return {"head": {"kind": "mlp", "hidden": [8], family.removesuffix("s"): given}}
        case "pretraining":
            return {"pretraining": given, "head": {"kind": "mlp", "hidden": [8], "activation": "sigmoid"}}
        case "regularizers" | "augmentations":
            return {family: [given]}
        case "losses":
            return {"loss": given}
        case "cuts" | "heads" | "optimizers" | "schedules":
            return {family.removesuffix("s"): given}
        case _:
            return {family: given}
