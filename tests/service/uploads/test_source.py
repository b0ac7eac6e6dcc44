"""Datasets and backbones that are made of resumable uploads: once, and of the very bytes."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.app import create_app
from service.settings import Settings
from service.tables import Backbone, Dataset
from service.uploads import parts, repository, source
from service.wakeup import Queue
from tests.support.archives import small_zip
from tests.support.requests import assert_problem
from workers.lease import claim
from workers.maintenance import remove_orphans, sweep
from workers.work.importing import ImportAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database

ARCHIVE = small_zip()
NETWORK = b"\x08\x07\x12\x07pytorch\n" + random.Random(0).randbytes(5000)
"""Begins as an ONNX file does."""
KEY = {"Idempotency-Key": "k"}


def upload(client: TestClient, data: bytes, *, sent: int | None = None, filename: str = "cGV0cy56aXA=") -> str:
    """Send a file in two pieces, or only its first bytes; returns the upload's id."""
    tus = {"Tus-Resumable": "1.0.0"}
    headers = {**tus, "Upload-Length": str(len(data)), "Upload-Metadata": f"filename {filename}"}
    url = client.post("/v1/uploads", headers=headers).headers["location"]
    end = len(data) if sent is None else sent
    for start, stop in ((0, 40), (40, end)):
        piece = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start)}
        assert client.patch(url, content=data[start:stop], headers=piece).status_code == 204
    return str(url.rpartition("/")[2])


def read(client: TestClient, key: str) -> bytes:
    """Read a file of the storage."""
    with parts.reading(client.app.state.storage, key) as file:  # type: ignore[attr-defined]
        return file.read()


def test_a_dataset_is_made_of_an_upload(client: TestClient, db: Database) -> None:
    upload_id = upload(client, ARCHIVE)
    response = client.post("/v1/datasets", json={"name": "pets", "source": {"upload": upload_id}, "labels": "none"})
    assert response.status_code == 202, response.text
    made = response.json()
    assert response.headers["location"] == f"/v1/datasets/{made['id']}"
    assert (made["name"], made["status"]) == ("pets", "validating")
    with db.reading() as session:
        row = session.get_one(Dataset, made["id"])
    assert (row.labels, row.archive) == ("none", f"uploads/{upload_id}")
    assert read(client, row.archive) == ARCHIVE
    assert client.get(f"/v1/uploads/{upload_id}").json()["used_by"] == made["id"]


def test_a_backbone_is_made_of_an_upload(client: TestClient, db: Database) -> None:
    upload_id = upload(client, NETWORK, filename="bmV0Lm9ubng=")
    facts = {"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    response = client.post("/v1/backbones", json={"source": {"upload": upload_id}, "format": "onnx", **facts})
    assert response.status_code == 202, response.text
    made = response.json()
    assert (made["name"], made["status"], made["format"]) == ("net.onnx", "importing", "onnx")
    assert (made["bytes"], made["digest"]) == (len(NETWORK), None)
    assert made["options"]["preprocessing"]["mean"] == [0, 0, 0]
    with db.reading() as session:
        row = session.get_one(Backbone, made["id"])
    assert row.upload is not None
    assert read(client, row.upload) == NETWORK


@pytest.mark.parametrize("noun", ["datasets", "backbones"])
def test_an_upload_is_used_once(client: TestClient, noun: str) -> None:
    body = {"source": {"upload": upload(client, ARCHIVE if noun == "datasets" else NETWORK)}}
    made = client.post(f"/v1/{noun}", json=body, headers=KEY)
    assert made.status_code == 202, made.text
    again = client.post(f"/v1/{noun}", json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, made.json()["id"])
    other = {"Idempotency-Key": "other"}
    assert_problem(client.post(f"/v1/{noun}", json=body, headers=other), 409, "upload_used", made.json()["id"])
    url = f"/v1/uploads/{body['source']['upload']}"
    assert_problem(client.delete(url, headers={"Tus-Resumable": "1.0.0"}), 409, "upload_used")


@pytest.mark.parametrize(("noun", "table"), [("datasets", Dataset), ("backbones", Backbone)])
def test_two_requests_with_one_key_at_once_make_one(
    client: TestClient, db: Database, noun: str, table: type[Dataset | Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other request comes when the first has checked the upload, and has not added its row yet."""
    upload_id = upload(client, ARCHIVE if noun == "datasets" else NETWORK)
    between: list[str] = []

    def prepare(*arguments: Any) -> Any:
        prepared = source_prepare(*arguments)
        if not between:
            between.append("")
            between.append(post().json()["id"])
        return prepared

    def post() -> Any:
        return client.post(f"/v1/{noun}", json={"source": {"upload": upload_id}}, headers=KEY)

    source_prepare = source.prepare
    monkeypatch.setattr(source, "prepare", prepare)
    response = post()
    assert response.status_code == 202, response.text
    assert response.json()["id"] == between[1]
    with db.reading() as session:
        made = [row for row in session.scalars(select(table.id)) if row.startswith(("ds_", "bb_"))]  # not timm's
    assert made == [between[1]]


def test_an_upload_that_is_not_whole_or_not_there_is_refused(client: TestClient) -> None:
    half = {"source": {"upload": upload(client, ARCHIVE, sent=50)}}
    for noun in ("datasets", "backbones"):
        assert_problem(client.post(f"/v1/{noun}", json=half), 422, "upload_incomplete", "50 of")
        none = client.post(f"/v1/{noun}", json={"source": {"upload": "up_none"}})
        assert_problem(none, 422, "upload_unknown", "up_none")


def test_what_is_refused_as_a_body_is_refused_as_a_source(client: TestClient) -> None:
    web_page = upload(client, b"<!doctype html>" + b" " * 100)
    assert_problem(client.post("/v1/datasets", json={"source": {"upload": web_page}}), 422, "not_an_archive")
    assert_problem(client.post("/v1/backbones", json={"source": {"upload": web_page}}), 422, "not_a_backbone", "page")
    assert client.get(f"/v1/uploads/{web_page}").json()["used_by"] is None


def test_a_backbone_larger_than_the_deployment_takes_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    settings = Settings(data=tmp_path / "data", database_url=sqlite_url, max_backbone_bytes=1000)
    with TestClient(create_app(settings), "http://127.0.0.1:8000") as client:
        body = {"source": {"upload": upload(client, NETWORK)}}
        assert_problem(client.post("/v1/backbones", json=body), 413, "backbone_file_too_large", "1000")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"source": {"upload": "up_1"}, "nmae": "x"}, "did you mean name"),
        ({"source": {"upload": "up_1"}, "name": "a\nb"}, "one line"),
        ({"source": {"upload": 1}}, "body.source.upload"),
    ],
)
def test_a_wrong_request_is_explained(client: TestClient, body: dict[str, Any], part: str) -> None:
    for noun in ("datasets", "backbones"):
        assert_problem(client.post(f"/v1/{noun}", json=body), 422, "invalid_request", part)


def test_the_sweep_keeps_what_is_named_and_removes_the_rest(client: TestClient, db: Database) -> None:
    storage = client.app.state.storage  # type: ignore[attr-defined]
    unused, used, spent = (upload(client, ARCHIVE) for _ in range(3))
    for upload_id in (used, spent):
        assert client.post("/v1/datasets", json={"source": {"upload": upload_id}}).status_code == 202
    with db.writing() as session:
        row = session.query(Dataset).filter_by(archive=f"uploads/{spent}").one()
        row.archive = None  # it is validated
    remove_orphans(db, storage, -1)
    left = {parts.find_upload(file) for file in storage.list_old_files(parts.FOLDER, -1)}
    assert left == {unused, used}
    with db.writing() as session:
        for upload_id in (unused, used):
            repository.get(session, upload_id).expires_at = 1.0
    sweep(db, Queue(""))
    remove_orphans(db, storage, -1)
    assert {parts.find_upload(file) for file in storage.list_old_files(parts.FOLDER, -1)} == {used}
    assert read(client, f"uploads/{used}") == ARCHIVE


def test_the_worker_computes_the_digest(client: TestClient, db: Database, settings: Settings) -> None:
    made = client.post("/v1/backbones", json={"source": {"upload": upload(client, NETWORK)}}).json()
    with db.writing() as session:
        claimed = claim(session, Backbone, "importing", "importing", "w", 60.0)
    assert claimed is not None
    attempt = ImportAttempt(db, settings, claimed)
    attempt.fetch_inputs()
    with db.writing() as session:
        order = attempt.start(session, session.get_one(Backbone, made["id"]))
    assert order.request.file.read_bytes() == NETWORK
    digest = client.get(f"/v1/backbones/{made['id']}").json()["digest"]
    assert digest == f"sha256:{hashlib.sha256(NETWORK).hexdigest()}"
