"""Jobs as objects: followed, used, and started in one call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from graft.errors import GraftError, InputUnusable, WorkFailed
from tests.support.records import make_job

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client
    from tests.support.misbehaving_server import Handler

ENDED = make_job(status="succeeded", checkpoints=["ckpt_1"], finished_at="2026-11-28T12:00:09.000Z")
EVENT = {"id": "job_1.1", "seq": 1, "time": "2026-11-28T12:00:01.000Z", "kind": "phase", "message": "Training"}
CLASSES = [{"name": "cat", "probability": 0.75}]
PREDICTION = {"model": "ckpt_1", "classes": CLASSES, "set": ["cat"], "unlike_training": False}


@pytest.fixture
def service(server: type[Handler], tmp_path: Path) -> type[Handler]:
    """A service that has trained."""

    def answer(body: object) -> object:
        def give(handler: Handler) -> None:
            handler.read_body()
            handler.give_json(body)

        return give

    answers = {
        ("POST", "/v1/recipes/check"): {},
        ("POST", "/v1/datasets"): {"id": "ds_1"},
        ("GET", "/v1/datasets/ds_1"): {"id": "ds_1", "status": "ready", "error": None},
        ("POST", "/v1/jobs"): make_job(),
        ("GET", "/v1/jobs/job_1"): ENDED,
        ("GET", "/v1/jobs/job_1/metrics"): {"data": [], "has_more": False},
        ("POST", "/v1/predict"): {"data": [{"image": "cat.jpg", "predictions": [PREDICTION], "error": None}]},
    }
    server.answers = {key: answer(body) for key, body in answers.items()}  # type: ignore[misc]
    stream = f"data: {json.dumps(EVENT)}\n\n".encode()
    server.answers["GET", "/v1/jobs/job_1/events"] = lambda handler: handler.give(stream)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.jpg").write_bytes(b"1")
    return server


def test_images_become_predictions_in_one_line(service: type[Handler], client: Client, tmp_path: Path) -> None:
    image = str(tmp_path / "photos" / "cat" / "1.jpg")
    found = client.fine_tune(str(tmp_path / "photos"), backbone="local/small").wait().predict(image)
    assert [(one.name, one.probability) for one in found.classes] == [("cat", 0.75)]
    assert service.asked[0][1] == "/v1/recipes/check", "before anything is sent"


def test_a_dataset_is_trained_on_by_its_id(service: type[Handler], client: Client) -> None:
    assert client.fine_tune("ds_1", "local/small").dataset == "ds_1"
    assert "/v1/datasets" not in [path for _, path, _ in service.asked]


def test_iterating_a_job_gives_its_events(service: type[Handler], client: Client) -> None:
    assert [event.message for event in client.job("job_1")] == ["Training"]


def test_a_job_is_waited_for_in_the_open(
    service: type[Handler], client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.job("job_1").wait(show=True).checkpoint == "ckpt_1"
    assert capsys.readouterr().out == "12:00:01 Training\n"


def test_a_job_without_a_checkpoint_says_why(service: type[Handler], client: Client) -> None:
    error = {"code": "out_of_memory", "message": "The memory was not enough."}
    failed = make_job(status="failed", error=error)
    service.answers["GET", "/v1/jobs/job_1"] = lambda handler: handler.give_json(failed)
    with pytest.raises(WorkFailed, match="not enough") as caught:
        client.job("job_1").wait().predict(b"")
    assert caught.value.code == "out_of_memory"
    service.answers["GET", "/v1/jobs/job_1"] = lambda handler: handler.give_json(make_job())
    with pytest.raises(WorkFailed, match="job_1 is running"):
        client.job("job_1").download()


def test_an_image_that_cannot_be_opened_is_an_error(service: type[Handler], client: Client) -> None:
    answer: dict[str, object] = {
        "data": [{"image": None, "predictions": [], "error": {"code": "no_image", "message": "No image."}}]
    }

    def refuse(handler: Handler) -> None:
        handler.read_body()
        handler.give_json(answer)

    service.answers["POST", "/v1/predict"] = refuse
    with pytest.raises(GraftError, match="No image") as caught:
        client.job("job_1").predict(b"none")
    assert caught.value.code == "no_image"


def test_images_that_cannot_be_trained_on_are_refused(service: type[Handler], client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputUnusable, match="There is no"):
        client.fine_tune(tmp_path / "none", "local/small")
    error = {"code": "no_images", "message": "No file is an image."}
    dataset = {"id": "ds_1", "status": "failed", "error": error}
    service.answers["GET", "/v1/datasets/ds_1"] = lambda handler: handler.give_json(dataset)
    with pytest.raises(WorkFailed, match="No file is an image"):
        client.fine_tune(tmp_path / "photos", "local/small")


def test_a_notebook_shows_a_job_with_its_curves_or_without_where_the_service_is_away(
    service: type[Handler], client: Client
) -> None:
    row = {"train_loss": 1.0, "validation_loss": 2.0, "train_accuracy": 0.5, "validation_accuracy": 0.5}
    page = {"data": [row], "has_more": False}
    service.answers["GET", "/v1/jobs/job_1/metrics"] = lambda handler: handler.give_json(page)
    job = client.job("job_1")
    assert job._repr_html_().count("<svg") == 2
    service.answers["GET", "/v1/jobs/job_1/metrics"] = lambda handler: handler.give(b"", 503)
    assert "<svg" not in job._repr_html_()
