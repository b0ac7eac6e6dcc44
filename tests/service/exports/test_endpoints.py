"""HTTP of exports: 202 until a worker has made the file, then its bytes; errors that say what to do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from service.exports import repository
from service.storage import Storage
from service.tables import Export
from tests.support.checkpoints import add_small_checkpoint
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint."""
    return add_small_checkpoint(db, tmp_path)


def finish(db: Database, settings: Settings, content: bytes) -> str:
    """Finish the export that waits, as a worker does; the key of its file."""
    key = "exports/exp/file"
    with Storage(settings.storage).writing(key) as file:
        file.write(content)
    with db.writing() as session:
        row = session.scalars(select(Export)).one()
        digest = hashlib.sha256(content).hexdigest()
        repository.accept(session, row, file=key, size=len(content), digest=digest, report={"parity": {}})
    return key


def test_a_file_is_made_on_demand(client: TestClient, db: Database, settings: Settings, checkpoint: str) -> None:
    address = f"/v1/checkpoints/{checkpoint}/content?format=onnx&softmax=true"
    first = client.get(address)
    assert first.status_code == 202
    assert first.headers["retry-after"] == "1"
    body = first.json()
    assert first.headers["location"] == f"/v1/checkpoints/{checkpoint}/exports/{body['id']}"
    assert client.get(first.headers["location"]).json() == body
    assert (body["status"], body["format"], body["url"]) == ("exporting", "onnx", address)
    assert client.get(address).json()["id"] == body["id"]
    other: dict[str, Any] = client.get(address.replace("softmax", "preprocessing")).json()
    assert other["id"] != body["id"]
    with db.writing() as session:
        session.delete(session.get_one(Export, other["id"]))
    content = bytes(range(256)) * 9000
    key = finish(db, settings, content)
    response = client.get(address)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert response.headers["content-disposition"] == 'attachment; filename="job_1-best.onnx"'
    assert client.get(address, headers={"Range": "bytes=1000-2000000"}).content == content[1000:2000001]
    (listed,) = client.get(f"/v1/checkpoints/{checkpoint}/exports").json()["data"]
    assert (listed["status"], listed["bytes"], listed["report"]) == ("ready", len(content), {"parity": {}})
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    with db.reading() as session:
        assert session.scalars(select(Export)).all() == []
    with pytest.raises(FileNotFoundError), Storage(settings.storage).reading(key):
        pass


def test_a_failed_export_says_why_and_is_tried_again(client: TestClient, db: Database, checkpoint: str) -> None:
    address = f"/v1/checkpoints/{checkpoint}/content?format=pt2"
    client.get(address)
    with db.writing() as session:
        repository.reject(session, session.scalars(select(Export)).one(), "parity_broken", "They part at layer3.")
    assert_problem(client.get(address), 422, "export_failed", "They part at layer3")
    (listed,) = client.get(f"/v1/checkpoints/{checkpoint}/exports").json()["data"]
    assert listed["error"] == {"code": "parity_broken", "message": "They part at layer3."}
    with db.writing() as session:
        session.scalars(select(Export)).one().finished_at -= 61
    assert client.get(address).status_code == 202


def test_options_and_formats_that_do_not_exist_are_refused(client: TestClient, checkpoint: str) -> None:
    address = f"/v1/checkpoints/{checkpoint}/content?format="
    assert_problem(client.get(f"{address}pt2&softmax=true"), 422, "export_option_unfit", "softmax", "onnx")
    assert_problem(client.get(f"{address}onnx&resize=true"), 422, "export_option_unfit", "add preprocessing=true")
    assert_problem(client.get(f"{address}coreml"), 422, "format_not_offered", "coreml", "onnx, pt2, bundle, hub")
    assert_problem(client.get(f"{address}onnx&precision=int4"), 422, "invalid_request")
    assert_problem(client.get("/v1/checkpoints/ckpt_none/content?format=onnx"), 404, "checkpoint_not_found")
    assert_problem(client.get(f"/v1/checkpoints/{checkpoint}/exports/exp_none"), 404, "export_not_found")
