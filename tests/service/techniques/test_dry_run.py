"""Dry runs of recipes: costs by hand, and the error that a job would get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.jobs import repository
from service.statuses import BackboneStatus
from service.tables import Backbone, Dataset, Job
from tests.support.requests import BACKBONE, BACKBONES, create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def describe_cut(name: str, below: int, numbers: int, parameters_above: int) -> dict[str, Any]:
    """Describe a cut as an inspection does; the whole network takes 100 multiply-adds."""
    return {
        "name": name,
        "stage": name.partition(".")[0],
        "shape": [numbers],
        "bytes_per_feature": 2 * numbers,
        "multiply_adds_below": below,
        "multiply_adds_above": 100 - below,
        "parameters_below": 50,
        "parameters_above": parameters_above,
    }


CUTS = [
    describe_cut("layer1.add", 30, 400, 40),
    describe_cut("layer2.add", 70, 200, 20),
    describe_cut("layer3.add", 90, 100, 10),
    describe_cut("global_pool", 90, 50, 5),
    describe_cut("fc", 100, 1000, 0),
]


@pytest.fixture
def images(db: Database, dataset: str) -> str:
    """The id of a dataset of 100 images in two classes; the backbone is inspected."""
    with db.writing() as session:
        row = session.get_one(Dataset, dataset)
        row.images, row.classes = 100, [{"name": "a", "count": 50}, {"name": "b", "count": 50}]
        backbone = session.get_one(Backbone, BACKBONE)
        backbone.status = BackboneStatus.INSPECTED
        backbone.inspection = {"parameters": 90, "multiply_adds": 100, "stages": [], "cuts": CUTS}
    return dataset


def check(client: TestClient, dataset: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Check a recipe that a job would take."""
    response = client.post("/v1/recipes/check", json={"dataset": dataset, "backbone": BACKBONE, "recipe": recipe})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_costs_are_those_of_the_cut_the_views_and_the_images(client: TestClient, images: str) -> None:
    costs = check(client, images, {"cache": {"views": 2, "grow": False}})["costs"]
    assert costs == {
        "images": 100,
        "least_views": 3,
        "most_views": 3,
        "cut": "global_pool",
        "multiply_adds_below": 90,
        "multiply_adds_above": 10,
        "bytes_per_feature": 100,
        "least_cache_bytes": (100 + 70 * 2) * 100,
        "most_cache_bytes": (100 + 70 * 2) * 100,
        "seconds_per_image": None,
        "least_seconds": None,
        "most_seconds": None,
    }


@pytest.mark.parametrize(
    ("recipe", "cut", "views"),
    [
        ({}, "global_pool", (1, 5)),
        ({"augmentations": []}, "global_pool", (1, 1)),
        ({"cut": {"kind": "top", "stages": 1}}, "layer2.add", (1, 5)),
        ({"cut": {"kind": "stage", "name": "layer1"}}, "layer1.add", (1, 5)),
        ({"cut": {"kind": "fraction", "frozen": 0.8}}, "layer2.add", (1, 5)),
        ({"cut": "none"}, None, (None, None)),
        ({"cache": "off"}, "global_pool", (None, None)),
    ],
)
def test_the_cut_and_the_views_are_those_that_a_job_chooses(
    client: TestClient, images: str, recipe: dict[str, Any], cut: str | None, views: tuple[int | None, int | None]
) -> None:
    found = check(client, images, recipe)
    assert (found["costs"]["cut"], found["warnings"]) == (cut, [])
    assert (found["costs"]["least_views"], found["costs"]["most_views"]) == views
    assert (found["costs"]["most_cache_bytes"] is None) == (views[0] is None)


def test_auto_is_resolved_where_rows_suffice(client: TestClient, images: str) -> None:
    recipe = check(client, images, {})["recipe"]
    assert (recipe["task"], recipe["loss"]["kind"], recipe["epochs"]) == ("single_label", "cross_entropy", 200)
    assert (recipe["image_size"], recipe["batch_size"]) == (224, "auto")
    assert check(client, images, {"cut": "none"})["recipe"]["epochs"] == 20


def test_each_technique_is_listed_with_its_defaults(client: TestClient) -> None:
    head = {"kind": "mlp", "activation": "elu"}
    recipe = {"optimizer": "nesterov", "head": head, "gradient_clipping": "by_norm"}
    found = client.post("/v1/recipes/check", json={"recipe": recipe}).json()
    used = {one["loc"]: one for one in found["techniques"]}
    assert used["optimizer"]["family"] == "optimizers"
    assert (used["optimizer"]["kind"], used["optimizer"]["fields"]["lr"]) == ("nesterov", "auto")
    assert (used["head.activation"]["family"], used["head.activation"]["kind"]) == ("activations", "elu")
    assert used["regularizers.0"]["kind"] == "l2"
    assert used["gradient_clipping"]["family"] == "gradient_clipping"
    assert {one["kind"] for one in found["techniques"] if one["family"] == "augmentations"} == {"crop", "colour"}


def test_what_a_job_would_do_unexpectedly_is_a_warning(client: TestClient, images: str, db: Database) -> None:
    unknown = check(client, images, {"cut": {"kind": "stage", "name": "layer9"}})
    assert [one["loc"] for one in unknown["warnings"]] == ["body.recipe.cut"]
    assert "layer1, layer2, layer3" in unknown["warnings"][0]["msg"]
    small = check(client, images, {"cache": {"max_bytes": 12_000}})
    assert [one["loc"] for one in small["warnings"]] == ["body.recipe.cache.max_bytes"]
    assert (small["costs"]["least_cache_bytes"], small["costs"]["most_cache_bytes"]) == (10_000, 12_000)
    with db.writing() as session:
        session.get_one(Backbone, BACKBONE).inspection = None
    listed = check(client, images, {})
    assert "/inspect" in listed["warnings"][0]["msg"]
    assert listed["costs"]["cut"] is None


def test_costs_are_not_guessed_for_other_image_sizes(client: TestClient, images: str) -> None:
    costs = check(client, images, {"image_size": 384})["costs"]
    assert (costs["cut"], costs["multiply_adds_below"], costs["most_cache_bytes"]) == (None, None, None)
    assert costs["images"] == 100


@pytest.mark.parametrize(
    ("cache", "measured", "seconds"),
    [
        ({"hits": 200, "misses": 5, "saved_seconds": 8.0}, None, 0.04),
        ({"hits": 0, "misses": 5, "saved_seconds": 0.0}, 0.03, 0.03),
        (None, None, None),
    ],
)
def test_seconds_are_told_where_a_worker_has_measured_them(
    client: TestClient, images: str, db: Database, cache: dict[str, Any] | None, measured: float | None, seconds: float
) -> None:
    recipe = check(client, images, {})["recipe"]
    job = create_job(client, images)["id"]
    with db.writing() as session:
        row = session.get_one(Job, job)
        row.recipe, row.cache = recipe, cache
        repository.add_event(session, row, "info", "prepared", "", {"seconds_per_image": measured})
    costs = check(client, images, {})["costs"]
    assert costs["seconds_per_image"] == seconds
    assert costs["least_seconds"] == (None if seconds is None else pytest.approx(100 * seconds))
    other = check(client, images, {"cut": {"kind": "top", "stages": 1}})["costs"]
    assert other["seconds_per_image"] is None, "another cut costs something else"


@pytest.mark.parametrize(("budget", "least", "most"), [(None, 4.0, 1800.0), (60.0, 4.0, 60.0), (2.0, 2.0, 2.0)])
def test_a_quality_takes_from_its_first_candidate_to_its_budget(
    client: TestClient, images: str, db: Database, budget: float | None, least: float, most: float
) -> None:
    recipe, job = check(client, images, {})["recipe"], create_job(client, images)["id"]
    with db.writing() as session:
        row = session.get_one(Job, job)
        row.recipe, row.cache = recipe, {"hits": 200, "misses": 5, "saved_seconds": 8.0}
        repository.add_event(session, row, "info", "prepared", "", {"seconds_per_image": None})
    found = check(client, images, {"quality": "balanced", "time_budget_seconds": budget})
    assert found["costs"]["least_seconds"] == pytest.approx(least)
    assert found["costs"]["most_seconds"] == most
    again = check(client, images, found["recipe"])
    assert again["recipe"] == found["recipe"], "what it gives can be sent"


def test_costs_of_several_backbones_are_summed_where_all_are_known(
    client: TestClient, db: Database, images: str
) -> None:
    other, unknown = BACKBONES[1:3]
    recipe = {"quality": "balanced", "cache": {"views": 2, "grow": False}}
    with db.writing() as session:
        first, second = session.get_one(Backbone, BACKBONE), session.get_one(Backbone, other)
        second.status, second.inspection, second.input_size = first.status, first.inspection, first.input_size

    def ask(*names: str) -> dict[str, Any]:
        body = {"dataset": images, "backbones": names, "recipe": recipe}
        response = client.post("/v1/recipes/check", json=body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    both = ask(BACKBONE, other)
    assert both["costs"]["least_cache_bytes"] == 2 * (100 + 70 * 2) * 100
    assert (both["costs"]["images"], both["costs"]["cut"]) == (100, None)
    assert both["recipe"]["image_size"] == "auto"
    with_unknown = ask(BACKBONE, unknown)
    assert with_unknown["costs"]["least_cache_bytes"] is None
    assert [remark["loc"] for remark in with_unknown["warnings"]] == ["body.backbones.1"]
