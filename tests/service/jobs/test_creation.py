"""Creation of jobs: recipes that do not fit their dataset are refused and leave nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem, build_job_request, create_job

if TYPE_CHECKING:
    from collections.abc import Callable

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
