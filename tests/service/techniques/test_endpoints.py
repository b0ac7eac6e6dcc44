"""Checks of recipes: the errors of a job, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.requests import BACKBONE, assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient


def test_a_recipe_that_a_job_would_take_is_shown_with_its_defaults(
    client: TestClient, dataset: str, rows: Callable[[], dict[str, int]]
) -> None:
    before = rows()
    for more in ({}, {"backbone": BACKBONE}, {"backbone": BACKBONE, "dataset": dataset}):
        checked = client.post("/v1/recipes/check", json={"recipe": {"epochs": 3, "optimizer": "nesterov"}, **more})
        assert checked.status_code == 200, checked.text
        recipe = checked.json()["recipe"]
        assert (recipe["epochs"], recipe["optimizer"]["kind"], recipe["batch_size"]) == (3, "nesterov", "auto")
    assert rows() == before


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"recipe": {"epochs": 0}}, "invalid_request", "body.recipe.epochs"),
        ({"recipe": {"cut": "none", "cache": "on"}}, "invalid_request", "cut: none leaves nothing"),
        ({"backbone": "timm/resnet81.a1_in1k"}, "backbone_unknown", "Did you mean timm/resnet18.a1_in1k"),
        ({"dataset": "ds_none"}, "dataset_unknown", "ds_none"),
        ({"recipes": {}}, "invalid_request", "did you mean recipe?"),
    ],
)
def test_a_recipe_that_a_job_would_not_take_is_refused(
    client: TestClient, body: dict[str, Any], code: str, says: str
) -> None:
    problem = assert_problem(client.post("/v1/recipes/check", json=body), 422, code, says)
    assert problem["errors"][0]["loc"].startswith("body.")
    assert problem["errors"][0]["msg"]
