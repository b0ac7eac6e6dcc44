"""Reliability diagrams and thresholds against numpy, of one label and of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve  # type: ignore[import-untyped]

from models.datasets import pack
from models.evaluation.calibration import compute_calibration_error
from models.evaluation.image_predictions import write_predictions
from models.evaluation.metrics import compute_log_probabilities
from service.jobs.intervals import compute_interval
from service.tables import Job
from tests.support.job_predictions import (
    JOB,
    MANY_TEST,
    MANY_VALIDATION,
    TEST,
    add_images,
    add_job,
    add_many,
    add_pack,
    make_entries,
    predict,
)
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings


def ask(client: TestClient, what: str, **query: str) -> dict[str, Any]:
    response = client.get(f"/v1/jobs/{JOB}/{what}", params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def find_targets() -> np.ndarray:
    """Find the multi-hot labels of all images, (300, 3)."""
    targets = np.zeros((300, 3), bool)
    for number, entry in enumerate(make_entries(is_multi_label=True)):
        targets[number, list(entry.labels)] = True
    return targets


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_the_bins_are_those_of_the_calibration_error(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, is_multi_label: bool
) -> None:
    logits = add_many(db, settings, tmp_path, is_multi_label=is_multi_label)[MANY_TEST]
    labels = find_targets()[MANY_TEST].astype(np.float32) if is_multi_label else MANY_TEST % 3
    found = ask(client, "calibration")
    counts = np.array([each["count"] for each in found["bins"]])
    assert counts.sum() == (600 if is_multi_label else 200)
    assert (found["images"], found["classes_each"]) == (200, 3 if is_multi_label else 1)
    gaps = [
        each["count"] * abs(each["confidence"] - each["accuracy"]["share"]) for each in found["bins"] if each["count"]
    ]
    # Probabilities of the file have three digits.
    assert sum(gaps) / counts.sum() == pytest.approx(compute_calibration_error(logits, labels), abs=2e-3)
    for each in found["bins"]:
        if each["count"]:
            assert each["low"] < each["confidence"] <= each["high"] + 1e-9
            assert each["accuracy"] == vars(compute_interval(each["accuracy"]["share"], each["count"]))
        else:
            assert each["confidence"] is each["accuracy"] is None


def test_a_bin_opens_its_images(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> None:
    add_many(db, settings, tmp_path)
    for each in ask(client, "calibration")["bins"]:
        query = {"above": each["low"], "up_to": each["high"], "limit": 1000}
        listed = client.get(f"/v1/jobs/{JOB}/predictions", params=query).json()["data"]
        assert len(listed) == each["count"]
        if listed:
            right = sum(image["is_correct"] for image in listed)
            assert right / each["count"] == pytest.approx(each["accuracy"]["share"])


def test_the_errors_are_those_that_the_job_measured(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    add_many(db, settings, tmp_path)
    assert ask(client, "calibration")["error_before"] is None, "of an earlier release"
    with db.writing() as session:
        errors = {"before": {"calibration_error": 0.2}, "after": {"calibration_error": 0.1}}
        session.get_one(Job, JOB).metrics = {"calibration": {"temperature": 1.5, "validation": errors, "test": None}}
    found = ask(client, "calibration", split="validation")
    assert (found["temperature"], found["error_before"], found["error_after"]) == (1.5, 0.2, 0.1)
    assert ask(client, "calibration")["error_after"] is None


def test_fewer_images_are_answered_at_a_greater_threshold(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    logits = add_many(db, settings, tmp_path)[MANY_TEST]
    confidences = np.exp(compute_log_probabilities(logits)).max(1).astype(np.float16).astype(float)
    is_right = logits.argmax(1) == MANY_TEST % 3
    found = ask(client, "thresholds")
    assert found["classes"] == []
    assert [each["threshold"] for each in found["thresholds"]] == pytest.approx([*np.arange(20) / 20, 0.99])
    for each in found["thresholds"]:
        answered = confidences >= each["threshold"]
        assert each["answered"] == answered.sum()
        assert each["share"] == answered.mean()
        assert each["accuracy"]["share"] == pytest.approx(is_right[answered].mean())
    (none,) = ask(client, "thresholds", at="1")["thresholds"]
    assert (none["answered"], none["accuracy"]) == (0, None)


@pytest.mark.parametrize("number", range(3))
def test_of_several_labels_each_class_has_precision_and_recall(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, number: int
) -> None:
    logits, targets = add_many(db, settings, tmp_path, is_multi_label=True)[:, number], find_targets()[:, number]
    scores = (1 / (1 + np.exp(-logits.astype(float)))).astype(np.float16).astype(float)
    found = ask(client, "thresholds", label=["cat", "dog", "owl"][number], at="0,0.3,0.5,0.9")
    assert (found["thresholds"], found["exact_from"]) == ([], 0.0)
    (of_class,) = found["classes"]
    truth = targets[MANY_TEST]
    assert of_class["images"] == truth.sum()
    for each in of_class["thresholds"]:
        predicted = scores[MANY_TEST] >= each["threshold"]
        assert each["predicted"] == predicted.sum()
        assert each["precision"]["share"] == pytest.approx(truth[predicted].mean())
        assert each["recall"]["share"] == pytest.approx(predicted[truth].mean())
    precision, recall, thresholds = precision_recall_curve(targets[MANY_VALIDATION], scores[MANY_VALIDATION])
    f1 = (2 * precision * recall / (precision + recall))[:-1]
    best = of_class["best"]["threshold"]
    assert f1[thresholds == best] == pytest.approx(f1.max())
    predicted = scores[MANY_TEST] >= best
    assert of_class["best"]["recall"]["share"] == pytest.approx(predicted[truth].mean())


def test_all_classes_are_measured_at_one_half(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    add_many(db, settings, tmp_path, is_multi_label=True)
    classes = ask(client, "thresholds")["classes"]
    assert [each["name"] for each in classes] == ["cat", "dog", "owl"]
    assert {each["threshold"] for of_class in classes for each in of_class["thresholds"]} == {0.5}


def test_where_classes_are_left_out_the_least_exact_threshold_is_told(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    targets = (random.random((40, 15)) < 0.3).astype(np.float32)
    targets[:, 0] = 1
    logits = random.normal(size=(40, 15)).astype(np.float32)
    entries = [
        pack.Entry(bytes([number]) * 32, 0, 1, 9, 9, tuple(np.flatnonzero(row).tolist()), "", f"{number}.png")
        for number, row in enumerate(targets)
    ]
    images = np.arange(40)
    content = write_predictions(
        {"validation": (images[:20], logits[:20], targets[:20]), "test": (images[20:], logits[20:], targets[20:])},
        [entry.name for entry in entries],
    )
    classes = [{"name": f"c{number}", "count": 9} for number in range(15)]
    add_job(db, tmp_path, add_pack(db, settings, entries, classes=classes), content)
    tenth = np.sort(1 / (1 + np.exp(-logits[20:])), axis=1)[:, -10].max()
    found = ask(client, "thresholds", at="0.95")
    assert found["exact_from"] == pytest.approx(tenth, abs=1e-3)
    assert all(each["best"]["threshold"] >= found["exact_from"] for each in found["classes"] if each["best"])


def test_a_job_without_test_images_has_empty_answers(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    content = write_predictions(
        {"validation": (TEST, np.zeros((6, 2), np.float32), TEST % 2)}, [f"{number}.png" for number in range(12)]
    )
    add_job(db, tmp_path, add_images(db, settings), content)
    assert ask(client, "calibration")["bins"] == []
    assert ask(client, "thresholds")["thresholds"] == []
    assert ask(client, "slices")["slices"] == []
    assert ask(client, "slices", split="validation")["images"] == 6


def test_one_threshold_counts_for_all_classes_where_each_image_has_one(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    add_many(db, settings, tmp_path)
    response = client.get(f"/v1/jobs/{JOB}/thresholds?label=cat")
    assert_problem(response, 422, "thresholds_of_all_classes", "leave `label` out")


@pytest.mark.parametrize("number", range(3))
def test_a_chosen_class_is_counted_as_among_all(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, number: int
) -> None:
    add_many(db, settings, tmp_path, is_multi_label=True, has_empty=True)
    among_all = ask(client, "thresholds", at="0,0.3,0.9")["classes"][number]
    (chosen,) = ask(client, "thresholds", at="0,0.3,0.9", label=among_all["name"])["classes"]
    assert chosen == among_all


def test_what_is_wrong_is_named(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> None:
    add_job(db, tmp_path, add_images(db, settings), predict())
    for at in ("2", "-0.1", "x", "0.5,,", "nan", ",".join(["0.5"] * 102)):
        assert_problem(client.get(f"/v1/jobs/{JOB}/thresholds", params={"at": at}), 422, "invalid_request", "at")
    assert_problem(client.get(f"/v1/jobs/{JOB}/thresholds?label=emu"), 422, "label_unknown", "emu")
    for what in ("calibration", "thresholds"):
        assert_problem(client.get(f"/v1/jobs/job_none/{what}"), 404, "job_not_found")
    for query in ({"above": "2"}, {"up_to": "x"}):
        assert client.get(f"/v1/jobs/{JOB}/predictions", params=query).status_code == 422
