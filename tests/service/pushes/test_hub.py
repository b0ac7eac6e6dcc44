"""Pushes to the Hub, by its own library against a small hub on loopback; what arrives is downloaded again."""

from __future__ import annotations

import logging
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import hf_hub_download
from sqlalchemy import text

from service.pushes import endpoints
from service.statuses import ExportStatus
from service.tables import Export, Table
from tests.support.hub_uploads import TOKEN, run_upload_hub
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from tests.support.hub_uploads import UploadHub

# The Hub's library sends files in a way that its HTTP library has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """The hub."""
    (tmp_path / "hub").mkdir()
    with run_upload_hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def push(client: TestClient, checkpoint: str, **more: Any) -> Any:
    body = {"to": "hub", "repo": "garden/flowers", "token": TOKEN, **more}
    return client.post(f"/v1/checkpoints/{checkpoint}/push", json=body)


def find_token(db: Database) -> list[str]:
    """Find the tables that have the token in any row."""
    with db.reading() as session:
        return [
            table.name
            for table in Table.metadata.sorted_tables
            if any(TOKEN in str(tuple(row)) for row in session.execute(text(f"SELECT * FROM {table.name}")))
        ]


def test_one_commit_has_the_files_which_come_back_the_same(
    client: TestClient, db: Database, checkpoint: str, hub: UploadHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    body = push(client, checkpoint).json()
    (commit,) = hub.commits
    assert (commit["repo"], commit["revision"], commit["files"]) == ("garden/flowers", "main", sorted(files))
    assert commit["summary"] == "Upload a model of Graft"
    assert body["url"] == f"{hub.url}/garden/flowers/tree/{body['version']}"
    assert (body["files"], body["bytes"]) == (list(files), sum(map(len, files.values())))
    assert hub.created[0]["visibility"] == "private"
    for name, content in files.items():
        path = hf_hub_download("garden/flowers", name, endpoint=hub.url, cache_dir=tmp_path / "cache", token=False)
        with open(path, "rb") as file:  # noqa: PTH123
            assert file.read() == content
    assert find_token(db) == []
    uploads = [path for method, path, _ in hub.requests if method == "PUT"]
    assert len(uploads) == 1, "only the weights are large"
    push(client, checkpoint, private=False, revision="v2", message="Once more")
    assert (hub.commits[1]["revision"], hub.commits[1]["summary"], len(hub.created)) == ("v2", "Once more", 1)
    assert [path for method, path, _ in hub.requests if method == "PUT"] == uploads, "it is there already"


@pytest.mark.parametrize("files", [{"model.safetensors": bytes(48 << 20)}])
def test_it_is_streamed(client: TestClient, checkpoint: str, hub: UploadHub) -> None:
    push(client, checkpoint, token="hf_wrong")  # loads the library
    tracemalloc.start()
    try:
        assert push(client, checkpoint).status_code == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(hub.commits) == 1
    assert peak < 24 << 20, "the file has 48 MiB"


def test_without_an_export_a_worker_makes_it_first(client: TestClient, db: Database, bare: str, hub: UploadHub) -> None:
    response = push(client, bare)
    assert response.status_code == 202
    assert (response.json()["format"], response.json()["status"]) == ("hub", "exporting")
    assert client.get(response.headers["location"]).json() == response.json()
    assert hub.requests == []
    assert find_token(db) == []
    with db.writing() as session:
        row = session.get_one(Export, response.json()["id"])
        row.status, row.error, row.finished_at = ExportStatus.FAILED, {"code": "x", "message": "It cannot."}, 1e12
    assert_problem(push(client, bare), 422, "export_failed", "It cannot.")


@pytest.mark.parametrize(
    ("failing", "status", "code", "says"),
    [
        ({"/repos/create": 403}, 422, "push_refused", "right to write"),
        ({"/commit/": 400}, 422, "push_refused", "garden/flowers"),
        ({"PUT /lfs/": 403}, 502, "push_failed", "Nothing was published"),
        ({"/commit/": 500}, 502, "push_failed", "send the request again"),
    ],
)
def test_what_fails_publishes_nothing_and_its_error_has_no_token(
    client: TestClient,
    db: Database,
    checkpoint: str,
    hub: UploadHub,
    failing: dict[str, int],
    status: int,
    code: str,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.failing = failing
    response = push(client, checkpoint)
    assert_problem(response, status, code, says)
    assert TOKEN not in response.text
    assert TOKEN not in caplog.text.replace(f"'authorization', 'Bearer {TOKEN}'", "")
    assert (hub.commits, find_token(db)) == ([], [])
    hub.failing = {}
    assert push(client, checkpoint).status_code == 200


def test_a_wrong_token_is_refused(client: TestClient, checkpoint: str, hub: UploadHub) -> None:
    response = push(client, checkpoint, token="hf_another_secret")
    assert_problem(response, 422, "push_refused", "Check the token")
    assert "hf_another_secret" not in response.text
    assert not hub.created


def test_a_hub_that_is_away_is_named(client: TestClient, checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    response = push(client, checkpoint)
    assert_problem(response, 502, "push_failed", "Nothing was published")
    assert TOKEN not in response.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"repo": "flowers"},
        {"repo": "../../etc/passwd"},
        {"to": "s3"},
        {"token": ""},
        {"token": None},
        {"tokn": TOKEN},
        {"format": "onnx"},
    ],
)
def test_wrong_requests_are_refused_without_their_token(
    client: TestClient, checkpoint: str, hub: UploadHub, wrong: dict[str, Any]
) -> None:
    response = push(client, checkpoint, **wrong)
    assert_problem(response, 422, "invalid_request")
    assert TOKEN not in response.text
    assert hub.requests == []


def test_only_so_many_run_at_once(client: TestClient, checkpoint: str, hub: UploadHub) -> None:
    for _ in range(endpoints.MOST_AT_ONCE):
        endpoints._slots.acquire()
    try:
        response = push(client, checkpoint)
        assert_problem(response, 503, "too_many_pushes")
        assert response.headers["retry-after"] == "10"
    finally:
        for _ in range(endpoints.MOST_AT_ONCE):
            endpoints._slots.release()
    assert push(client, checkpoint).status_code == 200
