"""HTTP of uploaded backbones: uploads stream, wait for answers, and are not deleted under a job."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.backbones import imports
from service.settings import Settings
from service.tables import Backbone
from tests.support.archives import small_zip
from tests.support.requests import BACKBONES, assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Database

FILE = b"\x08\x07\x12\x07pytorch\n" + bytes(range(256)) * 40
"""Begins as an ONNX file does."""


def stored(settings: Settings) -> dict[str, bytes]:
    """Files of backbones in the storage, by the last part of their names."""
    folder = settings.data / "storage" / "backbones"
    return {path.name.split(".")[0]: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def upload(client: TestClient, **query: str) -> dict[str, Any]:
    """Upload a file as the body."""
    response = client.post("/v1/backbones", params=query, content=FILE)
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def fail(db: Database, backbone: str, code: str) -> None:
    """End an import as failed."""
    with db.writing() as session:
        row = session.get_one(Backbone, backbone, with_for_update=True)
        imports.reject(
            session, row, code, "Say mean and std.", {"format": "onnx", "preprocessing": {"missing": ["mean"]}}
        )


def accept(db: Database, backbone: str) -> None:
    """End an import as ready."""
    summary = {"architecture": "graph", "parameters": 7, "input_size": [3, 32, 32], "licence": None}
    with db.writing() as session:
        row = session.get_one(Backbone, backbone, with_for_update=True)
        files = {"config.json": {"key": f"backbones/{backbone}/1/config.json", "bytes": 2, "digest": "00"}}
        imports.accept(session, row, summary=summary, files=files, inspection={"cuts": []}, report={"format": "onnx"})


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_file_is_kept_as_it_came(client: TestClient, settings: Settings, encoding: str) -> None:
    content = gzip.compress(FILE) if encoding else FILE
    query = {"name": "mine", "architecture": "resnet18", "preprocessing": '{"mean": [0.5, 0.5, 0.5]}', "labels": "a\nb"}
    headers = {"content-encoding": encoding}
    response = client.post("/v1/backbones", params=query, content=content, headers=headers)
    assert response.status_code == 202, response.text
    backbone = response.json()
    assert response.headers["location"] == f"/v1/backbones/{backbone['id']}"
    assert backbone["id"].startswith("bb_")
    assert (backbone["name"], backbone["status"], backbone["source"]) == ("mine", "importing", "upload")
    assert (backbone["bytes"], backbone["digest"][:7]) == (len(FILE), "sha256:")
    assert backbone["options"] == {
        "architecture": "resnet18",
        "preprocessing": {"mean": [0.5, 0.5, 0.5]},
        "labels": ["a", "b"],
    }
    assert stored(settings) == {"upload": FILE}
    assert client.get(f"/v1/backbones/{backbone['id']}").json() == backbone


def test_a_form_brings_samples_and_options(client: TestClient, settings: Settings) -> None:
    samples = small_zip()
    files = {"file": ("net.onnx", FILE), "samples": ("s.zip", samples), "labels": ("labels.txt", b"cat\r\ndog\r\n")}
    response = client.post("/v1/backbones", files=files, data={"preprocessing": "from_samples"})
    assert response.status_code == 202, response.text
    assert response.json()["name"] == "net.onnx"
    assert response.json()["options"] == {"preprocessing": "from_samples", "labels": ["cat", "dog"]}
    assert stored(settings) == {"upload": FILE, "samples": samples}
    named = client.post("/v1/backbones", files={"f": ("net.onnx", FILE)}, data={"name": "mine"}).json()
    assert named["name"] == "mine"


@pytest.mark.parametrize(
    ("content", "status", "code", "says"),
    [
        (b"", 400, "empty_body", "curl"),
        (b"<!DOCTYPE html><html>", 422, "not_a_backbone", "web page"),
        (b"\x89PNG\r\n\x1a\n" * 100, 422, "not_a_backbone", "an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid", 422, "not_a_backbone", "git lfs pull"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), 422, "not_a_backbone", "Pack the network's folder"),
        (b'{"uri": "https://example.org/net.onnx"}', 422, "not_a_backbone", "Graft fetches nothing"),
    ],
)
def test_what_is_surely_no_network_is_refused_and_leaves_no_trace(
    client: TestClient,
    settings: Settings,
    rows: Callable[[], dict[str, int]],
    content: bytes,
    status: int,
    code: str,
    says: str,
) -> None:
    before = rows()
    assert_problem(client.post("/v1/backbones", content=content), status, code, says)
    assert_problem(client.post("/v1/backbones", files={"file": ("x", content)}), status, code, says)
    assert stored(settings) == {}
    assert rows() == before


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"preprocessing": "{mean: 1}"}, "query.preprocessing: no JSON"),
        ({"preprocessing": '{"mean": [1, 2]}'}, "query.preprocessing.mean"),
        ({"preprocessing": '{"std": [0, 1, 1]}'}, "query.preprocessing.std.0"),
        ({"preprocessing": "guess"}, "query.preprocessing"),
        ({"labels": "[1]"}, "query.labels.0"),
        ({"name": "a\nb"}, "query.name: must be one line"),
        ({"architectur": "resnet18"}, "did you mean architecture"),
    ],
)
def test_malformed_options_are_refused_in_the_query_and_in_a_form(
    client: TestClient, settings: Settings, query: dict[str, str], says: str
) -> None:
    assert_problem(client.post("/v1/backbones", params=query, content=FILE), 422, "invalid_request", says)
    form = client.post("/v1/backbones", files={"file": ("x", FILE)}, data=query)
    assert form.status_code in (400, 422), form.text
    assert stored(settings) == {}


def test_samples_must_be_a_zip_and_a_file_must_be_there(client: TestClient, settings: Settings) -> None:
    wrong = client.post("/v1/backbones", files={"file": ("x", FILE), "samples": ("s", b"no zip")})
    assert_problem(wrong, 422, "not_a_backbone", "samples are no .zip")
    alone = client.post("/v1/backbones", files={"samples": ("s", small_zip())})
    assert_problem(alone, 400, "form_malformed", "holds no file")
    assert stored(settings) == {}


def test_too_large_a_file_is_refused_and_leaves_no_trace(settings: Settings) -> None:
    small = Settings(data=settings.data, database_url=settings.database_url, max_backbone_bytes=9000)
    with TestClient(create_app(small), base_url="http://127.0.0.1:8000") as client:
        wrong = client.post("/v1/backbones", content=FILE)
        assert_problem(wrong, 413, "backbone_file_too_large", "GRAFT_MAX_BACKBONE_BYTES")
        pieces = client.post("/v1/backbones", content=iter([FILE, FILE]))
        assert_problem(pieces, 413, "backbone_file_too_large", "GRAFT_MAX_BACKBONE_BYTES")
        assert stored(small) == {}


def test_repeating_an_idempotency_key_creates_one_backbone(client: TestClient, settings: Settings) -> None:
    key = {"Idempotency-Key": "k"}
    first = client.post("/v1/backbones", content=FILE, headers=key).json()
    again = client.post("/v1/backbones", content=FILE, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    other = client.post("/v1/backbones?architecture=resnet18", content=FILE, headers=key)
    assert_problem(other, 422, "idempotency_key_reused")
    assert len(list((settings.data / "storage" / "backbones").rglob("upload"))) == 1


def test_the_same_file_twice_makes_two_backbones_of_one_digest(client: TestClient) -> None:
    first, second = upload(client), upload(client)
    assert first["id"] != second["id"]
    assert first["digest"] == second["digest"]


def test_an_import_that_lacks_its_preprocessing_goes_on_with_an_answer(
    client: TestClient, db: Database, settings: Settings
) -> None:
    backbone = upload(client, preprocessing='{"crop_pct": 0.9}')["id"]
    address = f"/v1/backbones/{backbone}/preprocessing"
    answer = {"preprocessing": {"mean": [0.5, 0.5, 0.5]}, "labels": ["a", "b"]}
    assert_problem(client.post(address, json=answer), 409, "preprocessing_not_needed", "importing")
    fail(db, backbone, "preprocessing_needed")
    found = client.get(f"/v1/backbones/{backbone}").json()
    assert (found["status"], found["error"]["code"]) == ("failed", "preprocessing_needed")
    assert found["import_report"]["preprocessing"] == {"missing": ["mean"]}
    assert f"POST {address}" in found["hint"]
    assert_problem(client.post(address, json={"mean": [0, 0, 0]}), 422, "invalid_request", "fields here are")
    assert_problem(client.post(address, json={}), 422, "invalid_request", "preprocessing")
    response = client.post(address, json=answer)
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/backbones/{backbone}")
    assert (response.json()["status"], response.json()["error"]) == ("importing", None)
    assert response.json()["options"] == {
        "preprocessing": {"mean": [0.5, 0.5, 0.5], "crop_pct": 0.9},
        "labels": ["a", "b"],
    }
    fail(db, backbone, "preprocessing_needed")
    samples = client.post(
        address, files={"samples": ("s.zip", small_zip())}, data={"preprocessing": '{"std": [1, 1, 1]}'}
    )
    assert samples.json()["options"]["preprocessing"] == {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "crop_pct": 0.9}
    assert set(stored(settings)) == {"upload", "samples"}
    accept(db, backbone)
    assert_problem(client.post(address, json=answer), 409, "preprocessing_not_needed", "ready")
    assert_problem(
        client.post(f"/v1/backbones/{BACKBONES[0]}/preprocessing", json=answer), 409, "backbone_not_uploaded"
    )


@pytest.mark.parametrize("code", ["architecture_needed", "architecture_unknown", "weights_unfit"])
def test_weights_need_not_be_sent_again_with_another_architecture(client: TestClient, db: Database, code: str) -> None:
    backbone = upload(client, architecture="resnet81")["id"]
    fail(db, backbone, code)
    address = f"/v1/backbones/{backbone}/preprocessing"
    assert f"POST {address}" in client.get(f"/v1/backbones/{backbone}").json()["hint"]
    answered = client.post(address, json={"architecture": "resnet18"})
    assert (answered.status_code, answered.json()["options"]) == (202, {"architecture": "resnet18"})


def test_an_import_that_failed_for_good_takes_no_answer(client: TestClient, db: Database, settings: Settings) -> None:
    backbone = upload(client)["id"]
    fail(db, backbone, "file_broken")
    address = f"/v1/backbones/{backbone}/preprocessing"
    assert_problem(client.post(address, json={"labels": ["a"]}), 409, "preprocessing_not_needed", "Send the file again")
    big = client.post(address, files={"samples": ("s.zip", small_zip())})
    assert_problem(big, 409, "preprocessing_not_needed")
    assert client.get(f"/v1/backbones/{backbone}").json()["hint"] is None
    assert_problem(client.post("/v1/backbones/bb_none/preprocessing", json={}), 404, "backbone_not_found")


def test_an_upload_that_nobody_answers_for_is_dropped(client: TestClient, db: Database) -> None:
    backbone = upload(client)["id"]
    fail(db, backbone, "preprocessing_needed")
    with db.writing() as session:
        imports.drop_unanswered(session)
        assert session.get_one(Backbone, backbone).upload is not None
        session.get_one(Backbone, backbone).finished_at = 1.0
    with db.writing() as session:
        imports.drop_unanswered(session)
    answered = client.post(f"/v1/backbones/{backbone}/preprocessing", json={"labels": ["a"]})
    assert_problem(answered, 409, "upload_dropped", "Send it again")
    assert client.get(f"/v1/backbones/{backbone}").json()["hint"] is None


def test_events_are_numbered_and_streamed(client: TestClient, db: Database) -> None:
    backbone = upload(client)["id"]
    address = f"/v1/backbones/{backbone}/events"
    fail(db, backbone, "preprocessing_needed")
    events = client.get(address).json()["data"]
    assert [(event["id"], event["kind"]) for event in events] == [
        (f"{backbone}.1", "uploaded"),
        (f"{backbone}.2", "failed"),
    ]
    with client.stream("GET", address, headers={"accept": "text/event-stream"}) as stream:
        lines = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
    assert lines == events
    assert client.get(address, params={"after": f"{backbone}.1"}).json()["data"] == events[1:]
    assert_problem(client.get(address, params={"after": "bb_x.1"}), 422, "position_unknown")
    assert client.get(f"/v1/backbones/{BACKBONES[0]}/events").json()["data"] == []
    assert_problem(client.get("/v1/backbones/bb_none/events"), 404, "backbone_not_found")


def test_ready_ones_are_listed_and_others_where_they_are_asked_for(client: TestClient, db: Database) -> None:
    ready, waiting = upload(client, name="My Net")["id"], upload(client)["id"]
    accept(db, ready)

    def ids(**query: str) -> list[str]:
        return [backbone["id"] for backbone in client.get("/v1/backbones", params=query).json()["data"]]

    assert ids() == [ready, *sorted(BACKBONES)]
    assert ids(source="upload") == [ready, waiting]
    assert ids(status="importing") == [waiting]
    assert ids(status="ready") == [ready]
    assert ids(q="my net") == [ready]
    assert ids(after=ready) == sorted(BACKBONES)
    inspected = client.post(f"/v1/backbones/{ready}/inspect").json()
    assert (inspected["status"], inspected["inspection"]) == ("ready", {"cuts": []})
    fail(db, waiting, "file_broken")
    assert client.post(f"/v1/backbones/{waiting}/inspect").json()["status"] == "failed"


def test_one_that_a_recommendation_is_to_measure_cannot_be_deleted(
    client: TestClient, db: Database, dataset: str
) -> None:
    backbone = upload(client)["id"]
    accept(db, backbone)
    body = {"dataset": dataset, "candidates": [backbone]}
    made = client.post("/v1/backbones/recommend", json=body).json()["id"]
    assert_problem(client.delete(f"/v1/backbones/{backbone}"), 409, "backbone_in_use", made, "cancel it")
    client.post(f"/v1/recommendations/{made}/cancel")
    assert client.delete(f"/v1/backbones/{backbone}").status_code == 204


def test_a_job_names_one_that_is_ready(client: TestClient, db: Database, dataset: str) -> None:
    backbone = upload(client, name="My Net")["id"]

    def start(name: str) -> Any:
        return client.post("/v1/jobs", json={"dataset": dataset, "backbone": name})

    assert_problem(start(backbone), 422, "backbone_not_ready", "still being imported")
    fail(db, backbone, "preprocessing_needed")
    assert_problem(start(backbone), 422, "backbone_not_ready", "Say mean and std.")
    assert_problem(start("bb_none"), 422, "backbone_unknown")
    accept(db, backbone)
    assert_problem(start("My Net"), 422, "backbone_unknown", backbone)
    job = start(backbone)
    assert job.status_code == 202
    assert job.json()["waiting_for"] == "a worker: none is running"
    assert_problem(client.delete(f"/v1/backbones/{backbone}"), 409, "backbone_in_use", job.json()["id"])
    client.post(f"/v1/jobs/{job.json()['id']}/cancel")
    assert client.delete(f"/v1/jobs/{job.json()['id']}").status_code == 204
    assert client.delete(f"/v1/backbones/{backbone}").status_code == 204
    assert_problem(client.get(f"/v1/backbones/{backbone}"), 404, "backbone_not_found")


def test_deleting_removes_the_files_and_events(
    client: TestClient, settings: Settings, rows: Callable[[], dict[str, int]]
) -> None:
    before = rows()
    backbone = upload(client)["id"]
    assert client.delete(f"/v1/backbones/{backbone}").status_code == 204
    assert stored(settings) == {}
    assert rows() == before
    assert_problem(client.delete(f"/v1/backbones/{BACKBONES[0]}"), 409, "backbone_not_uploaded", "source timm")
    assert_problem(client.delete("/v1/backbones/bb_none"), 404, "backbone_not_found")


def test_curl_that_puts_is_told_how_to_post(client: TestClient) -> None:
    wrong = client.put("/v1/backbones/model.onnx", content=FILE)
    assert_problem(wrong, 405, "method_not_allowed", "curl -X POST -T model.onnx")
