"""Recipes: resolving `auto`, and the ways to write a choice."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from models.catalog.augmentations import Colour, Crop
from models.catalog.cache import Cache
from models.catalog.heads import MLP, Linear
from models.catalog.losses import BinaryCrossEntropy, CrossEntropy
from models.catalog.optimizers import Adam, Momentum
from models.catalog.recipe import Recipe, ResolvedRecipe
from models.catalog.technique import Unresolved
from tests.support.recipe_variants import DATA


def resolved(choices: Any = None, **data: Any) -> ResolvedRecipe:
    """A recipe, for some data."""
    return Recipe.model_validate(choices or {}).resolve(**{**DATA, **data})


def test_the_empty_recipe_is_a_linear_head_on_cached_views() -> None:
    recipe = resolved()
    assert (recipe.task, recipe.image_size, recipe.batch_size, recipe.epochs) == ("single_label", 224, 50, 200)
    assert (recipe.cut.kind, recipe.head.kind, recipe.loss) == ("all", "linear", CrossEntropy())
    assert recipe.cache == Cache(mode="on", views=0, grow=False)
    assert recipe.head == Linear(start="lda")
    assert recipe.regularizers[0].strength == pytest.approx(10 / 400)
    assert recipe.optimizer == Adam(lr="auto"), "found by a range test"


def test_resolving_keeps_chosen_values() -> None:
    chosen = {
        "task": "single_label",
        "batch_size": 3,
        "epochs": 7,
        "optimizer": {"kind": "sgd", "lr": 0.5},
        "regularizers": [{"kind": "l1", "strength": 0.25}],
        "loss": {"kind": "focal", "gamma": 1.0, "class_weights": {"a": 2.0}},
        "cache": {"mode": "off", "views": 2, "grow": False, "max_bytes": 1000},
    }
    dumped = resolved(chosen).model_dump(mode="json")
    assert {name: dumped[name] for name in chosen} == chosen


@pytest.mark.parametrize(("images", "batch_size"), [(10**6, 64), (512, 64), (511, 63), (80, 10), (16, 2), (5, 2)])
def test_a_batch_leaves_eight_steps_an_epoch_and_has_two_images_at_least(images: int, batch_size: int) -> None:
    assert resolved(images=images).batch_size == batch_size


@pytest.mark.parametrize(
    ("choices", "cache"),
    [
        ({}, Cache(mode="on", views=4, grow=True)),
        ({"cache": {"views": 2}}, Cache(mode="on", views=2, grow=False)),
        ({"cache": {"views": 9, "grow": True}}, Cache(mode="on", views=9, grow=True)),
        ({"cache": {"grow": False}}, Cache(mode="on", views=4, grow=False)),
        ({"cache": {"mode": "off"}}, Cache(mode="off", views=4, grow=False)),
        ({"cache": "off"}, Cache(mode="off", views=4, grow=False)),
        ({"cut": "top"}, Cache(mode="on", views=4, grow=True)),
        ({"cut": "none"}, Cache(mode="off", views=4, grow=False)),
        ({"augmentations": ["crop", "cutmix"]}, Cache(mode="off", views=4, grow=False)),
        ({"augmentations": ["crop", "mixup"]}, Cache(mode="on", views=4, grow=True)),
        ({"augmentations": ["mixup"]}, Cache(mode="on", views=0, grow=False)),
        ({"augmentations": []}, Cache(mode="on", views=0, grow=False)),
    ],
)
def test_caches_what_stays_the_same(choices: dict[str, object], cache: Cache) -> None:
    assert resolved(choices, images=200).cache == cache


def test_views_are_for_few_images_or_for_what_can_learn_them_by_heart() -> None:
    assert resolved(images=201).cache == Cache(mode="on", views=0, grow=False)
    assert resolved({"cut": "top"}, images=201).cache == Cache(mode="on", views=4, grow=True)
    assert resolved({"cache": {"views": 3}}, images=201).cache == Cache(mode="on", views=3, grow=False)


@pytest.mark.parametrize(
    ("choices", "counts", "start"),
    [
        ({}, {"a": 40, "b": 40}, "lda"),
        ({}, {"a": 400, "b": 39}, "zero"),
        ({"loss": "focal"}, {"a": 40, "b": 40}, "lda"),
        ({"loss": "binary_cross_entropy"}, {"a": 40, "b": 40}, "zero"),
        ({"cache": "off"}, {"a": 40, "b": 40}, "zero"),
        ({"cut": "top"}, {"a": 40, "b": 40}, "lda"),
        ({"cut": "none"}, {"a": 40, "b": 40}, "zero"),
        ({"cut": {"kind": "none", "probe": True}}, {"a": 40, "b": 40}, "lda"),
        ({"head": {"start": "zero"}}, {"a": 40, "b": 40}, "zero"),
        ({"head": {"start": "lda"}}, {"a": 4, "b": 4}, "lda"),
    ],
)
def test_a_linear_head_starts_where_it_can_start_well(
    choices: dict[str, object], counts: dict[str, int], start: str
) -> None:
    assert resolved(choices, class_counts=counts).head.start == start


@pytest.mark.parametrize("cut", ["all", *({"kind": kind, "probe": True} for kind in ("top", "none", "gradual"))])
def test_a_resolved_recipe_resolves_to_itself_and_has_the_same_probe(cut: object) -> None:
    """A job that is tried again starts from its resolved recipe."""
    choices = {"cut": cut, "augmentations": ["crop", "mixup"], "head": "mlp", "cache": {"max_bytes": 10**9}}
    recipe = resolved(choices, engine="eager", precision="float32")
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert resolved(again, engine="eager", precision="float32") == recipe
    probes = [Recipe.model_validate(each).to_probe() for each in (choices, again)]
    assert probes[0].cut.kind == "all"
    assert resolved(probes[0]) == resolved(probes[1])


def test_a_probe_is_the_empty_recipe_but_for_what_describes_head_and_data() -> None:
    assert (
        Recipe.model_validate({"cut": {"kind": "none", "probe": True}, "optimizer": "sgd", "epochs": 3}).to_probe()
        == Recipe()
    )
    chosen = {"cut": "top", "head": "cosine", "loss": "focal", "seed": 7, "image_size": 32, "augmentations": ["cutmix"]}
    probe = Recipe.model_validate(chosen).to_probe()
    assert probe == Recipe.model_validate({**chosen, "cut": "all", "augmentations": []})


def test_the_old_name_of_lda_stays_valid() -> None:
    recipe = Recipe.model_validate({"head": {"start": "discriminant"}})
    assert recipe == Recipe.model_validate({"head": {"start": "lda"}})
    assert recipe.model_dump()["head"]["start"] == "lda"


def test_a_resolved_recipe_leaves_nothing_open_but_what_is_measured() -> None:
    chosen = {"optimizer": {"lr": "auto"}, "head": {"kind": "mlp"}, "pretraining": {"kind": "rotation", "lr": "auto"}}
    recipe = resolved(chosen)
    assert ResolvedRecipe.model_validate(recipe.model_dump()) == recipe
    for name in ("batch_size", "engine", "cache", "regularizers", "head"):
        unresolved = {**recipe.model_dump(), name: Recipe.model_validate(chosen).model_dump()[name]}
        with pytest.raises(ValidationError):
            ResolvedRecipe.model_validate(unresolved)


def test_a_choice_that_is_open_cannot_be_used() -> None:
    with pytest.raises(Unresolved, match="resolve the recipe first"):
        Recipe().optimizer.build([])
    with pytest.raises(Unresolved, match="resolve the recipe first"):
        MLP().build(20, 3)


def test_fewer_epochs_train_the_whole_backbone() -> None:
    assert resolved({"cut": "none"}).epochs == 20
    assert resolved({"cut": "none", "epochs": 3}).epochs == 3


def test_the_loss_fits_the_task() -> None:
    assert resolved(task="single_label").loss == CrossEntropy()
    assert resolved(task="multi_label").loss == BinaryCrossEntropy()
    assert resolved({"loss": "binary_cross_entropy"}, task="single_label").loss == BinaryCrossEntropy()


def test_class_weights_follow_the_images() -> None:
    found = resolved({"loss": {"class_weights": "auto"}}).loss
    assert found == CrossEntropy(class_weights={"a": 400 / 600, "b": 2.0})


def test_hidden_layers_follow_the_features_and_classes() -> None:
    head = resolved({"head": "mlp"}, num_features=200, class_counts={"a": 1, "b": 1}).head
    assert isinstance(head, MLP)
    assert [layer.width for layer in head.hidden] == [20]


def test_a_task_that_the_data_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="leave task out"):
        resolved({"task": "multi_label"})


def test_the_rate_that_was_found_is_the_optimizers() -> None:
    recipe = resolved({"optimizer": "momentum"}).with_rate(0.3)
    assert recipe.optimizer == Momentum(lr=0.3)


def test_the_engine_that_was_chosen_is_the_recipes() -> None:
    recipe = resolved({}, engine="openvino", precision="bfloat16").with_rate(0.3)
    assert (recipe.engine, recipe.precision) == ("openvino", "bfloat16")
    assert '"auto"' not in recipe.model_dump_json()


def test_augmentations_of_images_keep_their_order() -> None:
    recipe = Recipe.model_validate({"augmentations": ["feature_noise", "colour", "mixup", "crop"]})
    assert recipe.image_augmentations == (Colour(), Crop())
    assert not recipe.mixes_images
    assert Recipe.model_validate({"augmentations": ["cutmix"]}).mixes_images


def test_a_kind_alone_or_fields_alone_are_enough() -> None:
    short = {"optimizer": {"beta1": 0.5}, "head": "cosine", "regularizers": ["l1", {"strength": 1.0}], "loss": "focal"}
    long = {
        "optimizer": {"kind": "adam", "beta1": 0.5},
        "head": {"kind": "cosine"},
        "regularizers": [{"kind": "l1"}, {"kind": "l2", "strength": 1.0}],
        "loss": {"kind": "focal"},
    }
    assert Recipe.model_validate(short) == Recipe.model_validate(long)


@pytest.mark.parametrize(
    ("recipe", "place"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"image_size": 3}, "image_size"),
        ({"seed": -1}, "seed"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"time_budget_seconds": 0}, "time_budget_seconds"),
        ({"optimizer": {"kind": "adam", "lr": 0}}, "optimizer.adam.lr"),
        ({"optimizer": {"kind": "adam", "momentum": 0.9}}, "optimizer.adam.momentum"),
        ({"optimizer": {"kind": "no_such_optimizer"}}, "optimizer"),
        ({"head": {"kind": "linear", "dropout": 1.0}}, "head.linear.dropout"),
        ({"head": {"kind": "mlp", "hidden": [{"dropout": 1.0}]}}, "head.mlp.hidden.0.dropout"),
        ({"augmentations": ["crop", {"kind": "rotate", "degrees": 0}]}, "augmentations.1.rotate.degrees"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience"),
        ({"no_such_field": 1}, "no_such_field"),
    ],
)
def test_an_invalid_value_is_refused_with_the_name_of_its_field(recipe: dict[str, object], place: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(recipe)
    assert ".".join(map(str, refused.value.errors()[0]["loc"])).startswith(place)


def test_another_task_than_the_datasets_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the dataset is multi_label, the recipe's task is single_label: leave task out"
    ):
        Recipe(task="single_label").for_task("multi_label")
