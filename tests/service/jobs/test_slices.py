"""Accuracy of slices against numpy, and the images behind them."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from models.datasets import pack
from models.evaluation.image_predictions import write_predictions
from service.datasets.pack_index import PackIndex
from service.datasets.slicing import By
from service.jobs import slices
from service.jobs.confidence import count_answers
from service.jobs.intervals import compute_interval
from service.jobs.predictions import PredictionFile
from service.jobs.slices import measure_slices
from service.storage import Storage
from tests.support.job_predictions import JOB, MANY_TEST, add_many, make_entries
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings


def ask(client: TestClient, **query: str) -> dict[str, Any]:
    response = client.get(f"/v1/jobs/{JOB}/slices", params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_the_accuracy_of_a_slice_is_that_of_its_images(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    logits, entries = add_many(db, settings, tmp_path), make_entries()
    is_right = logits.argmax(1) == np.array([entry.labels[0] for entry in entries])
    of_test = is_right[MANY_TEST]
    found = ask(client, by="format")
    assert (found["images"], found["split"], found["by"], found["left_out"]) == (200, "test", "format", 0)
    assert found["accuracy"]["share"] == of_test.mean()
    expected = {
        "png": of_test[MANY_TEST % 4 == 0],
        "jpg": of_test[(MANY_TEST % 4 == 1) | (MANY_TEST % 4 == 2)],
        "": of_test[MANY_TEST % 4 == 3],
    }
    by_name = {each["name"]: each for each in found["slices"]}
    assert by_name.keys() == expected.keys()
    for name, right in expected.items():
        interval = compute_interval(float(right.mean()), len(right))
        assert by_name[name]["images"] == len(right)
        assert by_name[name]["accuracy"] == vars(interval)
        assert by_name[name]["is_small"] == (len(right) < 30)
        assert by_name[name]["is_worse"] == (interval.high < of_test.mean())
    highs = [each["accuracy"]["high"] for each in found["slices"]]
    assert highs == sorted(highs)
    assert ask(client, by="folder", split="validation")["images"] == 100


@pytest.mark.parametrize("is_multi_label", [False, True])
@pytest.mark.parametrize("by", get_args(By))
def test_a_slice_opens_its_images(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, by: By, is_multi_label: bool
) -> None:
    add_many(db, settings, tmp_path, is_multi_label=is_multi_label, has_empty=is_multi_label)
    listed = ask(client, by=by)["slices"]
    if is_multi_label and by in ("class", "flag"):
        assert {"class": "", "flag": "unlabelled"}[by] in {each["name"] for each in listed}
    for each in listed:
        query: dict[str, str] = {"by": by, "slice": each["name"], "limit": "1000"}
        page = client.get(f"/v1/jobs/{JOB}/predictions", params=query).json()
        assert len(page["data"]) == each["images"]
        right = sum(image["is_correct"] for image in page["data"])
        assert right / each["images"] == pytest.approx(each["accuracy"]["share"])


def test_sizes_are_in_their_order(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> None:
    add_many(db, settings, tmp_path)
    names = [each["name"] for each in ask(client, by="size")["slices"]]
    assert names == ["0-31", "32-63", "64-127", "128-255", "256-511", "512-1023", "2048-"]


def test_of_many_slices_those_with_the_most_images_are_listed(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many(db, settings, tmp_path)
    monkeypatch.setattr(slices, "MOST_SLICES", 2)
    found = ask(client, by="folder")
    assert "" in {each["name"] for each in found["slices"]}
    assert (len(found["slices"]), found["left_out"]) == (2, 4)


def test_what_is_counted_keeps_no_index_and_no_predictions_in_memory(tmp_path: Path) -> None:
    storage, entries = Storage(str(tmp_path)), make_entries()
    with storage.writing("index") as file:
        pack.write_index(file, entries)
    with storage.reading("index") as file:
        index = PackIndex.from_bytes(file.read())
    labels = np.arange(300) % 3
    content = write_predictions({"test": (MANY_TEST, np.zeros((200, 3), np.float32), labels[MANY_TEST])}, index.names)
    predictions = PredictionFile.from_bytes(content)
    for by in get_args(By):
        measure_slices(predictions, index, ["cat", "dog", "owl"], "test", by)
    count_answers(predictions, index, "test", 3)
    kept = [weakref.ref(each) for each in (index, predictions)]
    del index, predictions
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_what_is_wrong_is_named(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> None:
    add_many(db, settings, tmp_path)
    predictions = f"/v1/jobs/{JOB}/predictions"
    for query in ({"by": "size"}, {"slice": "png"}, {"by": "size", "slice": "huge"}):
        assert_problem(client.get(predictions, params=query), 422, "slice_unknown", "size")
    assert_problem(client.get(predictions, params={"by": "class", "slice": "emu"}), 422, "label_unknown", "emu")
    assert client.get(predictions, params={"by": "folder", "slice": "attic"}).json()["data"] == []
    unfilled = client.get(predictions, params={"by": "", "slice": ""}).json()["data"]
    assert len(unfilled) == 100, "a form that is not filled in filters nothing"
    for address in (f"{predictions}?by=colour&slice=red", f"/v1/jobs/{JOB}/slices?by=colour"):
        assert client.get(address).status_code == 422
    assert_problem(client.get("/v1/jobs/job_none/slices"), 404, "job_not_found")
