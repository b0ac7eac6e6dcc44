"""Creation of jobs: recipes that do not fit their dataset are refused and leave nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from service.statuses import BackboneStatus
from service.tables import Backbone, Dataset, Job
from tests.support.checkpoints import add_small_checkpoint
from tests.support.datasets import add_dataset
from tests.support.pretrainings import add_pretraining
from tests.support.requests import BACKBONES, assert_problem, build_job_request, create_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database

MULTI_LABEL = {"task": "multi_label"}


@pytest.mark.parametrize(
    ("columns", "recipe", "code", "says"),
    [
        (MULTI_LABEL, {"loss": "focal"}, "recipe_does_not_fit", ["focal", "binary_cross_entropy"]),
        (MULTI_LABEL, {"task": "single_label"}, "recipe_does_not_fit", ["leave task out"]),
        (MULTI_LABEL, {"augmentations": ["mixup"]}, "recipe_does_not_fit", ["mixup", "leave it out"]),
        ({}, {"task": "multi_label"}, "recipe_does_not_fit", ["single_label"]),
        ({"task": "unlabelled", "classes": []}, {}, "dataset_unlabelled", ["no labels", "class folders"]),
        ({}, {"pretraining": {"kind": "autoencoder"}}, "invalid_request", ["set head to mlp"]),
        ({}, {"head": "mlp", "pretraining": {"dataset": "ds_none"}}, "dataset_unknown", ["ds_none"]),
        (
            {},
            {"head": {"kind": "mlp", "activation": "rel"}},
            "invalid_request",
            ["head.mlp.activation", "'relu'"],
        ),
        (
            {},
            {"head": {"kind": "mlp", "initializer": "no"}},
            "invalid_request",
            ["mlp.initializer:", "he_normal"],
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_with_what_to_change(
    client: TestClient,
    db: Database,
    rows: Callable[[], dict[str, int]],
    columns: dict[str, Any],
    recipe: dict[str, Any],
    code: str,
    says: list[str],
) -> None:
    dataset = add_dataset(db, **columns)
    before = rows()
    assert_problem(client.post("/v1/jobs", json=build_job_request(dataset, recipe=recipe)), 422, code, *says)
    assert rows() == before


def test_a_dataset_that_pretraining_uses_cannot_be_deleted(client: TestClient, db: Database, dataset: str) -> None:
    several, other = add_dataset(db, **MULTI_LABEL), add_dataset(db)
    recipe = {"head": "mlp", "pretraining": {"kind": "other_labels", "dataset": several}}
    assert_problem(
        client.post("/v1/jobs", json=build_job_request(dataset, recipe=recipe)), 422, "recipe_does_not_fit", several
    )
    recipe["pretraining"] = {"kind": "other_labels", "dataset": other}
    job = create_job(client, dataset, recipe=recipe)
    assert_problem(client.delete(f"/v1/datasets/{other}"), 409, "dataset_in_use", job["id"])
    client.post(f"/v1/jobs/{job['id']}/cancel")
    client.delete(f"/v1/jobs/{job['id']}")
    assert client.delete(f"/v1/datasets/{other}").status_code == 204


def test_a_checkpoint_that_does_not_exist_is_no_backbone(client: TestClient, db: Database) -> None:
    request = build_job_request(add_dataset(db), backbone="ckpt_none")
    assert_problem(client.post("/v1/jobs", json=request), 422, "backbone_unknown", "no checkpoint ckpt_none")


@pytest.fixture
def teacher(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint of the classes a and b, of a job that has ended."""
    checkpoint = add_small_checkpoint(db, tmp_path)
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
        session.execute(update(Dataset).values(task="single_label"))
    return checkpoint


@pytest.mark.parametrize(
    ("columns", "named", "code", "says"),
    [
        ({}, "ckpt_none", "teacher_unknown", ["no checkpoint ckpt_none"]),
        ({}, None, "teacher_does_not_fit", ["lacks cat, dog of dataset", "has a, b that"]),
        ({"classes": [{"name": "b"}]}, None, "teacher_does_not_fit", ["lacks none of", "has a that"]),
        (
            {"classes": [{"name": f"class {number:02}"} for number in range(12)]},
            None,
            "teacher_does_not_fit",
            ["class 08, class 09 and 2 more of dataset"],
        ),
        (
            {"classes": [{"name": "b"}, {"name": "a"}], **MULTI_LABEL},
            None,
            "teacher_does_not_fit",
            ["single_label", "multi_label"],
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_by_its_field(
    client: TestClient,
    db: Database,
    rows: Callable[[], dict[str, int]],
    teacher: str,
    columns: dict[str, Any],
    named: str | None,
    code: str,
    says: list[str],
) -> None:
    recipe, dataset = {"distillation": {"teacher": named or teacher}}, add_dataset(db, **columns)
    before = rows()
    for address, body in (
        ("/v1/jobs", build_job_request(dataset, recipe=recipe)),
        ("/v1/recipes/check", {"dataset": dataset, "recipe": recipe}),
    ):
        problem = assert_problem(client.post(address, json=body), 422, code, *says)
        assert [error["loc"] for error in problem["errors"]] == ["body.recipe.distillation.teacher"]
    assert rows() == before


def test_a_teacher_may_have_the_classes_in_another_order(client: TestClient, db: Database, teacher: str) -> None:
    dataset = add_dataset(db, classes=[{"name": "b", "count": 5}, {"name": "a", "count": 5}])
    recipe = {"distillation": {"teacher": teacher}}
    assert create_job(client, dataset, recipe=recipe)["recipe"]["distillation"]["teacher"] == teacher
    checked = client.post("/v1/recipes/check", json={"dataset": dataset, "recipe": recipe})
    assert checked.status_code == 200
    assert client.post("/v1/recipes/check", json={"recipe": recipe}).status_code == 200


def test_a_checkpoint_that_a_job_distils_cannot_be_deleted(client: TestClient, db: Database, teacher: str) -> None:
    dataset = add_dataset(db, classes=[{"name": "a", "count": 5}, {"name": "b", "count": 5}])
    create_job(client, dataset)
    student = create_job(client, dataset, recipe={"distillation": {"teacher": teacher}})
    for address in (f"/v1/checkpoints/{teacher}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_in_use", student["id"], teacher, "distils", "cancel it")
    assert client.post(f"/v1/jobs/{student['id']}/cancel").status_code == 202
    assert client.delete(f"/v1/checkpoints/{teacher}").status_code == 204


BALANCED = {"quality": "balanced"}


def test_several_backbones_are_one_job_of_which_each_is_listed(client: TestClient, dataset: str) -> None:
    body = {"dataset": dataset, "backbones": BACKBONES[:3], "recipe": BALANCED}
    key = {"Idempotency-Key": "several"}
    job = client.post("/v1/jobs", json=body, headers=key).json()
    assert (job["backbone"], job["backbones"]) == (BACKBONES[0], BACKBONES[:3])
    assert client.post("/v1/jobs", json=body, headers=key).json()["id"] == job["id"]
    alone = create_job(client, dataset)
    assert alone["backbones"] == [alone["backbone"]] == BACKBONES[:1]
    for name, found in ((BACKBONES[0], [alone["id"], job["id"]]), (BACKBONES[2], [job["id"]]), (BACKBONES[3], [])):
        listed = client.get("/v1/jobs", params={"backbone": name}).json()["data"]
        assert [one["id"] for one in listed] == found
    one = client.post("/v1/jobs", json={**body, "backbones": BACKBONES[:1]}).json()
    assert one["backbones"] == BACKBONES[:1]


@pytest.mark.parametrize(
    ("body", "code", "loc", "says"),
    [
        ({}, "backbone_missing", "body.backbone", "name one"),
        ({"backbone": BACKBONES[0], "backbones": BACKBONES}, "backbones_contradict", "body.backbones", "leave one"),
        ({"backbones": BACKBONES, "recipe": {}}, "backbones_need_quality", "body.backbones", "balanced or best"),
        ({"backbones": [BACKBONES[0]] * 2}, "backbone_named_twice", "body.backbones", BACKBONES[0]),
        ({"backbones": [BACKBONES[0], "timm/none"]}, "backbone_unknown", "body.backbones.1", "timm/none"),
        ({"backbones": [BACKBONES[0], "ckpt_none"]}, "backbone_unknown", "body.backbones.1", "deleted"),
        ({"backbones": []}, "invalid_request", "body.backbones", "at least 1"),
        ({"backbones": [f"local/{number}" for number in range(9)]}, "invalid_request", "body.backbones", "at most 8"),
    ],
)
def test_backbones_that_cannot_be_tried_are_refused_with_what_to_do(
    client: TestClient, dataset: str, body: dict[str, Any], code: str, loc: str, says: str
) -> None:
    request = {"dataset": dataset, "recipe": BALANCED, **body}
    problem = assert_problem(client.post("/v1/jobs", json=request), 422, code, says)
    assert [error["loc"] for error in problem["errors"]] == [loc]
    if body:
        checked = assert_problem(client.post("/v1/recipes/check", json=request), 422, code, says)
        assert checked["errors"] == problem["errors"]


def test_a_checkpoint_among_several_backbones_cannot_be_deleted_until_the_job_has_ended(
    client: TestClient, db: Database, tmp_path: Path
) -> None:
    checkpoint = add_small_checkpoint(db, tmp_path)
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    body = {"dataset": add_dataset(db), "backbones": [BACKBONES[0], checkpoint], "recipe": BALANCED}
    job = client.post("/v1/jobs", json=body).json()
    assert job["parent"] is None
    for address in (f"/v1/checkpoints/{checkpoint}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_in_use", job["id"], checkpoint, "cancel it")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").json()["backbones"] == body["backbones"]


def test_an_uploaded_backbone_among_several_is_needed_until_the_job_has_ended(
    client: TestClient, db: Database, dataset: str
) -> None:
    with db.writing() as session:
        session.add(Backbone(id="bb_1", source="upload", status=BackboneStatus.READY, attempt=0, crashes=0))
    body = {"dataset": dataset, "backbones": [BACKBONES[0], "bb_1"], "recipe": BALANCED}
    job = client.post("/v1/jobs", json=body).json()["id"]
    assert_problem(client.delete("/v1/backbones/bb_1"), 409, "backbone_in_use", job)
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.delete("/v1/backbones/bb_1").status_code == 204, "none of its checkpoints is made of it"


def test_a_job_never_tests_on_what_its_backbone_was_pretrained_on(
    client: TestClient, db: Database, dataset: str
) -> None:
    with db.writing() as session:
        session.get_one(Dataset, dataset).images = 100
    backbone = add_pretraining(db, dataset, BACKBONES[0], method="supervised")
    with db.writing() as session:
        session.get_one(Backbone, backbone).status = BackboneStatus.READY
    body = {"dataset": dataset, "backbone": backbone}
    refused = client.post("/v1/jobs", json={**body, "recipe": {"test_fraction": 0.3}})
    assert_problem(refused, 422, "recipe_does_not_fit", "leave validation_fraction and test_fraction out of the recipe")
    assert client.post("/v1/jobs", json=body).status_code == 202
