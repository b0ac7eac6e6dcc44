"""What every technique promises; a new member of a family is tested by being one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.catalog.recipe import FAMILIES, Recipe
from models.catalog.technique import Technique, members

TECHNIQUES = [technique for family in FAMILIES.values() for technique in members(family)]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_has_defaults_and_survives_json(technique: type[Technique]) -> None:
    value = technique()
    assert technique.model_validate_json(value.model_dump_json()) == value


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_takes_no_field_that_it_does_not_have(technique: type[Technique]) -> None:
    with pytest.raises(ValidationError):
        technique.model_validate({"no_such_field": 1})


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_says_what_it_does_and_documents_each_field(technique: type[Technique]) -> None:
    assert technique.__doc__
    for name, field in technique.model_fields.items():
        assert name == "kind" or field.description, f"{technique.__name__}.{name}"


@pytest.mark.parametrize("technique", [t for t in TECHNIQUES if "kind" in t.model_fields])
def test_names_its_formula_or_its_source(technique: type[Technique]) -> None:
    assert re.search(r"\(.*\d{4}\)|[←=±·]|\[-", technique.__doc__ or ""), technique.__name__


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if len(members(family)) > 1])
def test_kinds_of_a_family_differ(family: str) -> None:
    kinds = [technique.model_fields["kind"].default for technique in members(FAMILIES[family])]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    "recipe",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"image_size": 3},
        {"validation_fraction": 1.0},
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        {"optimizer": {"kind": "adam", "lr": 0}},
        {"optimizer": {"kind": "adam", "beta1": 1.0}},
        {"optimizer": {"kind": "adam", "momentum": 0.9}},
        {"optimizer": {"kind": "no_such_optimizer"}},
        {"head": {"kind": "linear", "dropout": 1.0}},
        {"cache": {"views": 65}},
        {"augmentations": [{"kind": "rotate", "degrees": 0}]},
        {"loss": {"kind": "cross_entropy", "label_smoothing": 1.0}},
        {"loss": {"kind": "cross_entropy", "class_weights": {"a": -1}}},
        {"early_stopping": {"patience": 0}},
        {"no_such_field": 1},
    ],
)
def test_ranges_are_held(recipe: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(recipe)


def test_resolving_leaves_no_auto() -> None:
    auto = Recipe.model_validate({"loss": {"class_weights": "auto"}})
    resolved = auto.resolve(image_size=224, num_features=1280, class_counts={"a": 300, "b": 100})
    assert '"auto"' not in resolved.model_dump_json()
    assert (resolved.image_size, resolved.batch_size, resolved.epochs) == (224, 50, 200)
    assert resolved.optimizer.lr == 0.5 / 1280
    assert resolved.regularizers[0].strength == pytest.approx(10 / 400)
    assert resolved.loss.class_weights == {"a": pytest.approx(400 / 600), "b": pytest.approx(2.0)}


def test_what_was_chosen_is_not_resolved_away() -> None:
    chosen = {
        "batch_size": 3,
        "epochs": 7,
        "optimizer": {"kind": "sgd", "lr": 0.5},
        "regularizers": [],
    }
    resolved = Recipe.model_validate(chosen).resolve(image_size=224, num_features=1280, class_counts={"a": 9, "b": 9})
    dumped = resolved.model_dump(mode="json")
    assert {name: dumped[name] for name in ("batch_size", "epochs", "regularizers")} == {
        name: chosen[name] for name in ("batch_size", "epochs", "regularizers")
    }
    assert dumped["optimizer"] == {"kind": "sgd", "lr": 0.5}


def test_the_catalog_loads_no_torch() -> None:
    run = "import sys, models.catalog.recipe; sys.exit(bool({'torch', 'PIL', 'numpy', 'timm'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=Path(__file__).parents[3])
