"""Quality: how much time a job may take for accuracy, and the recipes that it tries, the cheapest first.

A linear probe of frozen features is cheap and hard to beat where the new images are like those of the pretraining;
where they are not, training the whole backbone is worth points (Kornblith et al., 2019, arXiv:1805.08974; VTAB, Zhai et
al., 2020, arXiv:1910.04867). Which of the two holds, a job finds out by trying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from models.catalog.recipe import Recipe

Quality = Literal["fast", "balanced", "best"]

SECONDS = {"balanced": 1800.0, "best": 14400.0}
"""Time budget of a job whose recipe has none, by quality."""

SHARED = frozenset(
    {
        "task",
        "image_size",
        "precision",
        "engine",
        "batch_size",
        "seed",
        "time_budget_seconds",
        "validation_fraction",
        "test_fraction",
        "cache",
        "augmentations",
        "loss",
        "sampling",
        "quality",
    }
)
"""Fields that all candidates share with the recipe; those left out are chosen by the candidates."""


MOST_BACKBONES = 8
"""Most backbones that the candidates of one job have."""


class Candidate(NamedTuple):
    """A recipe to try."""

    name: str
    recipe: Recipe
    is_larger: bool
    """Whether images are larger than the network's own size; how large, a job finds out."""


def list_candidates(recipe: Recipe) -> list[Candidate]:
    """List the recipes that a quality tries, the cheapest first; `fast` has none. Raises ValidationError."""
    shared = {name: value for name, value in recipe.model_dump(mode="json").items() if name in SHARED}
    shared |= {"quality": "fast", "time_budget_seconds": None}
    wanted = {"balanced": BALANCED, "best": BEST}.get(recipe.quality, {})
    return [
        Candidate(name, type(recipe).model_validate({**_fit(shared, changes), **changes}), name == LARGER)
        for name, changes in wanted.items()
    ]


def _fit(shared: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is said of features that are computed once, where a candidate has none."""
    if changes.get("cut", {}).get("kind") != "none":
        return shared
    cache = shared["cache"]
    return {
        **shared,
        "engine": "auto" if shared["engine"] == "openvino" else shared["engine"],
        "cache": {**cache, "mode": "auto" if cache["mode"] == "on" else cache["mode"]},
    }


LEAST_EPOCHS = 5
"""Fewest passes over the training images, of those that a candidate asks for, with which it is tried."""

_ONE_CYCLE = {"optimizer": {"kind": "adamw", "lr": 1e-3}, "schedule": "one_cycle", "averaging": {}, "epochs": 20}
LARGER = "probe_larger"
"""Name of the candidate with larger images."""
BALANCED: dict[str, dict[str, Any]] = {
    "probe": {},
    "probe_of_depths": {"pooling": "depths"},
    LARGER: {},
    "whole_network": {"cut": {"kind": "none"}},
}
"""Changes of the empty recipe, by the name of the candidate."""
BEST: dict[str, dict[str, Any]] = {
    **BALANCED,
    "whole_network_from_probe": {
        "cut": {"kind": "none", "lr_scale": 1.0, "lr_decay": 0.9, "probe": True},
        **_ONE_CYCLE,
    },
    "whole_network_and_batch_norm": {
        "cut": {"kind": "none", "lr_scale": 1.0, "lr_decay": 0.9, "batch_norm": "trained"},
        **_ONE_CYCLE,
    },
}
