"""Parts of a job's view that explain its results: confidence, thresholds, slices, and the images behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service.tables import Job
from tests.support.broken_database import listening
from tests.support.job_metrics import METRICS
from tests.support.job_predictions import JOB, add_images, add_job, add_many

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from httpx2 import Response

    from service.database import Database
    from service.settings import Settings

SETS = [{"coverage": 0.9, "empirical": 0.915, "mean_size": 1.234, "single": 0.7, "empty": 0.05}]


@pytest.fixture
def many(db: Database, settings: Settings, tmp_path: Path) -> None:
    """A job with predictions for 200 test images of one label."""
    add_many(db, settings, tmp_path)


def test_a_job_without_predictions_says_so(browse: Callable[..., Response], done: str) -> None:
    for part in ("images", "confidence", "slices"):
        response = browse(f"/jobs/{done}/{part}")
        assert response.status_code == 200
        assert 'class="note' in response.text


@pytest.mark.usefixtures("many")
def test_a_diagram_and_its_table_say_the_same(browse: Callable[..., Response]) -> None:
    text = browse(f"/jobs/{JOB}/confidence").text
    bars, rows = text.count('<rect class="area"'), re.findall(r'<th scope="row">\d+%–\d+%</th>', text)
    assert bars == len(rows) > 5
    assert "earlier release, which did not measure its sets" in text
    assert "expected calibration error" not in text


@pytest.mark.usefixtures("many")
def test_a_job_is_read_once_for_all_that_its_confidence_shows(browse: Callable[..., Response], db: Database) -> None:
    statements: list[str] = []
    with listening(db, "before_cursor_execute", lambda *given: statements.append(given[2])):
        assert browse(f"/jobs/{JOB}/confidence").status_code == 200
    assert len([each for each in statements if "FROM jobs" in each]) == 1


@pytest.mark.usefixtures("many")
def test_sets_and_calibration_are_those_that_the_job_measured(browse: Callable[..., Response], db: Database) -> None:
    errors = {"before": {"calibration_error": 0.2}, "after": {"calibration_error": 0.034}}
    with db.writing() as session:
        session.get_one(Job, JOB).metrics = {
            "test": {**METRICS, "sets": SETS},
            "calibration": {"temperature": 1.5, "validation": errors, "test": errors},
        }
    text = browse(f"/jobs/{JOB}/confidence").text
    assert "3.4% off (expected calibration error); 20.0% before its temperature of 1.5" in text
    assert '<th scope="row">90%</th><td class="number">91.5%</td><td class="number">1.23</td>' in text


@pytest.mark.usefixtures("many")
def test_a_threshold_says_what_is_answered(browse: Callable[..., Response]) -> None:
    all_answered = browse(f"/jobs/{JOB}/threshold?percent=0").text
    assert "From 0% on, it answers 100.0% of the images" in all_answered
    assert "unanswered" not in all_answered
    some = browse(f"/jobs/{JOB}/threshold?percent=90").text
    (address,) = re.findall(r'hx-get="([^"]*)"', some)
    (count,) = re.findall(r"Show the (\d+) unanswered", some)
    shown, found = 0, browse(address.replace("&amp;", "&")).text
    while True:
        shown += found.count("<img ")
        more = re.findall(r'hx-get="([^"]*after=[^"]*)"', found)
        if not more:
            break
        found = browse(more[0].replace("&amp;", "&")).text
    assert shown == int(count)
    assert browse(f"/jobs/{JOB}/threshold?percent=101").status_code == 422


def test_of_several_labels_a_class_is_chosen(
    browse: Callable[..., Response], db: Database, settings: Settings, tmp_path: Path
) -> None:
    add_many(db, settings, tmp_path, is_multi_label=True)
    text = browse(f"/jobs/{JOB}/confidence").text
    assert "Best threshold" in text
    assert "cat is said for" in text
    assert text.count("<option>") == 3
    assert "owl is said for" in browse(f"/jobs/{JOB}/threshold?percent=30&label=owl").text
    assert browse(f"/jobs/{JOB}/threshold?label=emu").status_code == 422
    of_none = browse(f"/jobs/{JOB}/threshold")
    assert (of_none.status_code, "send `label`" in of_none.text) == (422, True)


@pytest.mark.usefixtures("many")
def test_a_threshold_of_one_class_is_refused_where_each_image_has_one(browse: Callable[..., Response]) -> None:
    response = browse(f"/jobs/{JOB}/threshold?label=cat")
    assert (response.status_code, "leave `label` out" in response.text) == (422, True)


@pytest.mark.usefixtures("many")
def test_a_slice_has_the_same_name_in_the_table_and_above_its_images(browse: Callable[..., Response]) -> None:
    for by, name in (("size", "2048 px and more"), ("folder", "no folder"), ("flag", "nothing"), ("flag", "grey")):
        table = browse(f"/jobs/{JOB}/slices?by={by}").text
        (row,) = [row for row in table.split("<tr>") if f'<th scope="row">{name}' in row]
        (address,) = re.findall(r'hx-get="([^"]*)"', row)
        assert re.search(rf"<strong>[^<]*: {name}</strong>", browse(address.replace("&amp;", "&")).text)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("by", ["size", "shape", "flag", "format", "folder", "class"])
def test_each_slice_opens_as_many_images_as_it_says(browse: Callable[..., Response], by: str) -> None:
    text = browse(f"/jobs/{JOB}/slices?by={by}").text
    slices = re.findall(r'hx-get="([^"]*)"[^>]*>(\d+)</button>', text)
    assert slices
    for address, count in slices:
        found = browse(address.replace("&amp;", "&")).text
        assert found.count("<img ") == min(48, int(count))
    assert "few images" in text or all(int(count) >= 30 for _, count in slices)


def test_names_of_folders_are_escaped(
    browse: Callable[..., Response], db: Database, settings: Settings, tmp_path: Path
) -> None:
    add_job(db, tmp_path, add_images(db, settings), None)
    assert "<script>" not in browse(f"/jobs/{JOB}/images?by=folder&slice=<script>").text
