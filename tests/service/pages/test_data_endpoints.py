"""Views of datasets: state, images by filter and page, and what is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.datasets import add_dataset
from tests.support.job_predictions import add_images

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from httpx2 import Response

    from service.database import Database
    from service.settings import Settings


def test_a_validation_is_watched_until_it_ends(browse: Callable[..., Response], db: Database) -> None:
    waiting = add_dataset(db, status="validating")
    assert f'hx-get="/data/{waiting}/state"' in browse(f"/data/{waiting}").text
    assert "HX-Refresh" not in browse(f"/data/{waiting}/state").headers
    assert browse(f"/data/{add_dataset(db, status='failed')}/state").headers["HX-Refresh"] == "true"


def test_a_dataset_that_failed_says_why(browse: Callable[..., Response], db: Database) -> None:
    assert "The only class is cat." in browse(f"/data/{add_dataset(db, status='failed')}").text


def test_counts_of_classes_and_images_are_shown(browse: Callable[..., Response], dataset: str) -> None:
    text = browse(f"/data/{dataset}").text
    assert text.count('class="thumbnail"') == 12
    assert '<option value="dog">' in text
    assert f"/train?dataset={dataset}" in text


def test_images_are_filtered_and_paged(
    browse: Callable[..., Response], dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert browse(f"/data/{dataset}/images?label=cat&split=").text.count('class="thumbnail"') == 6
    assert browse(f"/data/{dataset}/images?split=train").text.count('class="thumbnail"') == 3
    monkeypatch.setattr("service.pages.data_endpoints.IMAGES", 5)
    first = browse(f"/data/{dataset}/images?label=dog")
    assert first.text.count('class="thumbnail"') == 5
    after = first.text.split("after=")[1].split('"')[0]
    rest = browse(f"/data/{dataset}/images?label=dog&after={after}").text
    assert rest.count('class="thumbnail"') == 1
    assert "<ul" not in rest


def test_a_class_that_is_unknown_is_an_error(browse: Callable[..., Response], dataset: str) -> None:
    response = browse(f"/data/{dataset}/images?label=bird")
    assert response.status_code == 422
    assert "has no class bird" in response.text


def test_images_of_each_split_are_counted(browse: Callable[..., Response], dataset: str) -> None:
    text = browse(f"/data/{dataset}").text
    for split in ("training", "validation", "test"):
        assert f"<dt>For {split}</dt><dd>3</dd>" in text
    assert '<select id="split"' in text


def test_images_are_filtered_by_split_only_where_the_archive_gives_one(
    browse: Callable[..., Response], db: Database, settings: Settings
) -> None:
    text = browse(f"/data/{add_images(db, settings)}").text
    assert ('<select id="flag"' in text, '<select id="split"' in text) == (True, False)
