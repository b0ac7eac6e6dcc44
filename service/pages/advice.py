"""Advice of the training diagnostics as changes of a recipe, with which a form is filled in or a job started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.catalog.quality import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATCHES: dict[str, dict[str, Any]] = {
    "diverged": {"gradient_clipping": {"kind": "by_norm"}},
    "vanishing_gradients": {"head": {"normalization": {"kind": "batch_norm"}}},
    "exploding_gradients": {"gradient_clipping": {"kind": "by_norm"}},
    "dead_units": {"head": {"activation": {"kind": "leaky_relu"}}},
    "saturated_units": {"head": {"activation": {"kind": "relu"}}},
    "underfitting": {"head": {"kind": "mlp"}},
    "learning_rate_too_high": {"schedule": {"kind": "performance"}},
    "rare_class_lost": {"sampling": {"kind": "balanced"}},
    "worse_than_baseline": {"early_stopping": {}},
    "no_better_than_constant": {"sampling": {"kind": "balanced"}},
}
"""The change that each finding's advice names, where one value says it."""
FACTORS = {"diverged": 0.3, "exploding_gradients": 0.3, "learning_rate_too_high": 0.3, "learning_rate_too_low": 3.0}
"""By how much the learning rate is changed, where the recipe has what `PATCHES` says already, or it says nothing."""
MOST_DROPOUT = 0.9


def follow(kind: str, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Change a resolved recipe as a finding's advice says; None where no change of a value does it."""
    if kind == "head_not_enough":
        if recipe.get("quality", "fast") != "fast":
            return None
        # A quality chooses the other fields itself; what suits frozen features need not suit the whole network.
        precision = "exact" if recipe.get("precision") == "exact" else "auto"
        shared = {name: value for name, value in recipe.items() if name in SHARED}
        return {**shared, "engine": "auto", "precision": precision, "quality": "balanced"}
    for patch in _list_patches(kind, recipe):
        changed = apply(recipe, patch)
        if changed != recipe:
            # Initial weights suit an activation: those of the old one are resolved again.
            return (
                apply(changed, {"head": {"initializer": "auto"}}) if "activation" in patch.get("head", ()) else changed
            )
    return None


def apply(values: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Change a recipe: fields of a technique one by one, or all where it becomes another kind.

    Hidden layers of a head, each of which has its own values once the recipe is resolved, follow the head.
    """
    changed = dict(values)
    for name, value in patch.items():
        old = changed.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            changed[name] = apply(old, value)
        else:
            changed[name] = value
    if "hidden" in values and "hidden" not in patch:
        changed["hidden"] = [
            apply(layer, {name: value for name, value in patch.items() if name in layer}) for layer in values["hidden"]
        ]
    return changed


def _list_patches(kind: str, recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """List the changes that are tried in turn."""
    patch = PATCHES.get(kind, {})
    if all(
        "kind" in fields or fields.keys() <= recipe.get(name, {}).keys() for name, fields in patch.items() if fields
    ):
        yield patch
    lr = recipe.get("optimizer", {}).get("lr")
    if kind in FACTORS and isinstance(lr, float):
        yield {"optimizer": {"lr": float(f"{FACTORS[kind] * lr:.6g}")}}
    dropout = recipe.get("head", {}).get("dropout")
    if kind == "overfitting" and isinstance(dropout, float) and dropout < MOST_DROPOUT:
        yield {"head": {"dropout": max(0.5, min(MOST_DROPOUT, round((1 + dropout) / 2, 3)))}}
