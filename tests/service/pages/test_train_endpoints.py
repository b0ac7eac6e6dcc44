"""The form of a new job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from models.catalog.recipe import Recipe
from tests.support.recommendations import succeed
from tests.support.requests import BACKBONES

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database


def test_without_data_it_says_what_is_first(browse: Callable[..., Response]) -> None:
    assert "First, bring images" in browse("/train").text


def test_dataset_and_backbone_are_chosen(browse: Callable[..., Response], dataset: str) -> None:
    text = browse(f"/train?dataset={dataset}&backbone={BACKBONES[0]}").text
    assert f'<option value="{dataset}" selected>' in text
    assert re.search(rf'value="{re.escape(BACKBONES[0])}" checked', text)


def test_backbones_are_searched(browse: Callable[..., Response], dataset: str) -> None:
    name = BACKBONES[0]
    assert f'value="{name}"' in browse(f"/train/backbones?q={name[:12]}&max_params=&licence=").text
    assert "No backbone matches" in browse("/train/backbones?q=nothing").text
    assert "No backbone matches" in browse("/train/backbones?max_params=1").text


def test_a_ranking_gives_choices_with_what_each_would_reach(
    browse: Callable[..., Response], client: TestClient, db: Database, dataset: str
) -> None:
    assert 'id="recommend"' in browse("/train").text
    body = {"dataset": dataset, "candidates": BACKBONES[:2]}
    made = client.post("/v1/backbones/recommend", json=body).json()["id"]
    address = f"/train/recommendations/{made}?backbone={BACKBONES[1]}"
    waiting = browse(address).text
    assert "data-live" in waiting
    assert "Waiting for a worker" in waiting
    succeed(db, made)
    text = browse(address).text
    assert "data-live" not in text
    assert f"{BACKBONES[0]} is expected to have accuracy 90.0%." in text
    assert "expected 90.0% (82.6% to 94.5%)" in text
    assert "It is gone." in text
    assert re.search(rf'value="{re.escape(BACKBONES[1])}" checked', text)
    assert browse("/train/recommendations/rec_none").status_code == 404


def test_choices_in_words_are_recipes(browse: Callable[..., Response], dataset: str) -> None:
    import html
    import json

    patches = re.findall(r'data-patch="([^"]*)"', browse("/train").text)
    assert len(patches) == 10
    for patch in patches:
        Recipe.model_validate(json.loads(html.unescape(html.unescape(patch))))


def test_an_earlier_job_fills_the_form_in(browse: Callable[..., Response], job: str, dataset: str) -> None:
    text = browse(f"/train?job={job}").text
    assert f'<option value="{dataset}" selected>' in text
    assert '"validation_fraction": 0.15' in text


def test_costs_of_a_recipe_are_shown_before_it_runs(browse: Callable[..., Response], dataset: str) -> None:
    text = browse(f"/train/costs?dataset={dataset}&backbone={BACKBONES[0]}").text
    assert "Images to look at" in text
    assert f'href="/backbones/{BACKBONES[0]}"' in text
    assert "optimizer" in text


@pytest.mark.parametrize("recipe", ["{", "[]", '{"epochs": -1}', "[" * 4000, '{"unknown": 1}'])
def test_costs_of_what_would_be_refused_are_none(browse: Callable[..., Response], dataset: str, recipe: str) -> None:
    answer = browse(f"/train/costs?{urlencode({'dataset': dataset, 'recipe': recipe})}")
    assert answer.status_code == 200
    assert "Images to look at" not in answer.text
