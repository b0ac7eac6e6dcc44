"""HTTP of resumable uploads: tus 1.0.0, on both databases."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from service.app import create_app
from service.settings import Settings
from service.tables import Upload
from service.uploads import parts, repository
from service.uploads.errors import UploadLocked
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from httpx import Response

    from service.database import Database
    from service.storage import Storage

TUS = {"Tus-Resumable": "1.0.0"}
DATA = random.Random(0).randbytes(5000)


def create(client: TestClient, **headers: str) -> str:
    """Begin an upload of DATA; returns its address."""
    response = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(DATA)), **headers})
    assert response.status_code == 201, response.text
    return response.headers["location"]


def send(client: TestClient, url: str, offset: int, data: bytes, **headers: str) -> Response:
    """Send a piece."""
    piece = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return client.patch(url, content=data, headers=piece | headers)  # type: ignore[return-value]


def find_offset(client: TestClient, url: str) -> int:
    """Ask for the number of bytes that have come."""
    response = client.head(url, headers=TUS)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    return int(response.headers["upload-offset"])


def read(client: TestClient, db: Database, url: str) -> bytes:
    """Read an upload as one file."""
    storage: Storage = client.app.state.storage  # type: ignore[attr-defined]
    upload_id = url.rpartition("/")[2]
    with db.reading() as session:
        parts.write_list(storage, upload_id, repository.list_parts(session, upload_id))
    with parts.reading(storage, parts.get_folder(upload_id)) as file:
        return file.read()


def files(settings: Settings) -> list[Path]:
    """List the files of uploads in the storage."""
    return [path for path in (settings.data / "storage/uploads").rglob("*") if path.is_file()]


def checksum(algorithm: str, data: bytes) -> str:
    """Write the header Upload-Checksum."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def test_the_protocol_is_described(client: TestClient, settings: Settings) -> None:
    response = client.options("/v1/uploads")
    assert response.status_code == 204
    assert {name: response.headers[name] for name in ("tus-resumable", "tus-version", "tus-max-size")} == {
        "tus-resumable": "1.0.0",
        "tus-version": "1.0.0",
        "tus-max-size": str(settings.max_archive_bytes),
    }
    assert "creation" in response.headers["tus-extension"].split(",")
    assert response.headers["tus-checksum-algorithm"] == "sha1,sha256"


def test_pieces_make_up_the_file(client: TestClient, db: Database) -> None:
    url = create(client, **{"Upload-Metadata": "filename cGV0cy56aXA=,is_new"})
    assert find_offset(client, url) == 0
    for start, stop in ((0, 1), (1, 3000), (3000, 5000)):
        response = send(client, url, start, DATA[start:stop])
        assert (response.status_code, response.headers["upload-offset"]) == (204, str(stop))
        assert response.headers["tus-resumable"] == "1.0.0"
        assert response.headers["upload-expires"].endswith("GMT")
        assert find_offset(client, url) == stop
    head = client.head(url, headers=TUS).headers
    assert (head["upload-length"], head["upload-metadata"]) == ("5000", "filename cGV0cy56aXA=,is_new")
    shown = client.get(url).json()
    assert (shown["bytes"], shown["offset"], shown["used_by"]) == (5000, 5000, None)
    assert shown["metadata"] == {"filename": "pets.zip", "is_new": ""}
    assert read(client, db, url) == DATA


def test_the_first_piece_may_come_with_the_creation(client: TestClient, db: Database) -> None:
    headers = {**TUS, "Upload-Length": "5000", "Content-Type": "application/offset+octet-stream"}
    response = client.post("/v1/uploads", headers=headers, content=DATA[:2000])
    assert (response.status_code, response.headers["upload-offset"]) == (201, "2000")
    url = response.headers["location"]
    assert send(client, url, 2000, DATA[2000:]).status_code == 204
    assert read(client, db, url) == DATA


def test_the_size_may_be_told_later(client: TestClient, db: Database) -> None:
    response = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"})
    url = response.headers["location"]
    assert client.head(url, headers=TUS).headers["upload-defer-length"] == "1"
    assert send(client, url, 0, DATA[:10]).status_code == 204
    told = send(client, url, 10, DATA[10:4000], **{"Upload-Length": "5000"})
    assert (told.status_code, told.headers["upload-length"]) == (204, "5000")
    other = send(client, url, 4000, DATA[4000:], **{"Upload-Length": "6000"})
    assert_problem(other, 409, "upload_offset_mismatch", "5000")
    assert send(client, url, 4000, DATA[4000:]).status_code == 204
    assert read(client, db, url) == DATA


def test_a_piece_that_is_not_next_is_refused(client: TestClient) -> None:
    url = create(client)
    assert_problem(send(client, url, 10, DATA), 409, "upload_offset_mismatch", "0 bytes")
    assert send(client, url, 0, DATA[:100]).status_code == 204
    assert_problem(send(client, url, 0, DATA[:100]), 409, "upload_offset_mismatch", "100 bytes")
    assert find_offset(client, url) == 100


def test_a_piece_beyond_the_end_is_refused(client: TestClient, settings: Settings) -> None:
    url = create(client)
    assert_problem(send(client, url, 0, DATA + b"x"), 413, "upload_too_large", "5000")
    streamed = send(client, url, 0, iter([DATA, b"x"]))  # type: ignore[arg-type]  # of unknown length
    assert_problem(streamed, 413, "upload_too_large", "5000")
    assert (find_offset(client, url), files(settings)) == (0, [])
    assert send(client, url, 0, DATA).status_code == 204


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_that_differs_from_its_checksum_is_not_kept(
    client: TestClient, settings: Settings, algorithm: str
) -> None:
    url = create(client)
    headers = {"Upload-Checksum": checksum(algorithm, DATA[:3000])}
    assert_problem(send(client, url, 0, DATA[1:3001], **headers), 460, "upload_checksum_mismatch", algorithm)
    assert (find_offset(client, url), files(settings)) == (0, [])
    assert send(client, url, 0, DATA[:3000], **headers).status_code == 204
    assert find_offset(client, url) == 3000


def test_one_request_at_a_time_adds_to_an_upload(client: TestClient, db: Database) -> None:
    url = create(client)
    upload_id = url.rpartition("/")[2]
    with db.writing() as session:
        held = repository.begin_writing(session, upload_id, offset=0, piece=0, size=None, limit=1 << 30)
    assert_problem(send(client, url, 0, DATA[:10]), 423, "upload_locked", "Another request")
    with db.writing() as session:
        session.execute(text("UPDATE uploads SET lease_until = 1"))
    assert send(client, url, 0, DATA[:10]).status_code == 204, "the one that held it has come to nothing"
    with pytest.raises(UploadLocked), db.writing() as session:
        assert held.writer is not None
        repository.add_parts(session, upload_id, held.writer, [repository.Part(0, 10, "late")])
    assert find_offset(client, url) == 10


def test_what_a_full_disk_interrupts_goes_on_later(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = create(client)
    assert send(client, url, 0, DATA[:100]).status_code == 204

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("service.storage.os.fsync", fail)
        assert_problem(send(client, url, 100, DATA[100:]), 507, "insufficient_storage", "full", "at its Upload-Offset")
    assert find_offset(client, url) == 100
    assert send(client, url, 100, DATA[100:]).status_code == 204
    assert read(client, db, url) == DATA


def test_an_upload_can_be_deleted(client: TestClient, settings: Settings) -> None:
    url = create(client)
    assert send(client, url, 0, DATA[:100]).status_code == 204
    assert client.delete(url, headers=TUS).status_code == 204
    assert files(settings) == []
    assert client.head(url, headers=TUS).status_code == 404
    assert_problem(send(client, url, 100, DATA[100:]), 404, "upload_not_found", "POST /v1/uploads")
    assert_problem(client.delete(url, headers=TUS), 404, "upload_not_found")


def test_an_upload_that_nobody_added_to_expires(client: TestClient, db: Database) -> None:
    url = create(client)
    with db.writing() as session:
        session.execute(text("UPDATE uploads SET expires_at = 1"))
    assert client.head(url, headers=TUS).status_code == 404
    with db.writing() as session:
        repository.delete_expired(session)
    with db.reading() as session:
        assert session.get(Upload, url.rpartition("/")[2]) is None


def test_what_does_not_follow_the_protocol_is_refused(client: TestClient) -> None:
    length = {"Upload-Length": "5000"}
    assert_problem(client.post("/v1/uploads", headers=length), 412, "tus_version_unsupported", "1.0.0", "/v1/datasets")
    old = client.post("/v1/uploads", headers={**length, "Tus-Resumable": "0.2.2"})
    assert_problem(old, 412, "tus_version_unsupported", "0.2.2")
    assert old.headers["tus-version"] == "1.0.0"
    assert_problem(client.post("/v1/uploads", headers=TUS), 400, "upload_header_malformed", "Upload-Defer-Length")
    for wrong in ("-1", "1.5", "ten", "9" * 30):
        response = client.post("/v1/uploads", headers={**TUS, "Upload-Length": wrong})
        assert_problem(response, 400, "upload_header_malformed", "Upload-Length")
    metadata = client.post("/v1/uploads", headers={**TUS, **length, "Upload-Metadata": "filename pets.zip"})
    assert_problem(metadata, 400, "upload_header_malformed", "base64")
    url = create(client)
    as_zip = send(client, url, 0, DATA, **{"Content-Type": "application/zip"})
    assert_problem(as_zip, 415, "upload_type_unsupported", "application/offset+octet-stream")
    assert_problem(send(client, url, 0, DATA, **{"Content-Encoding": "gzip"}), 415, "upload_type_unsupported")
    for wrong in ("md5 abc=", "sha1", "sha1 abc="):
        assert_problem(send(client, url, 0, DATA, **{"Upload-Checksum": wrong}), 400, "upload_header_malformed")
    assert find_offset(client, url) == 0


def test_methods_may_be_overridden_where_a_proxy_passes_only_posts(client: TestClient) -> None:
    url = create(client)
    piece = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    sent = client.post(url, content=DATA, headers={**piece, "X-HTTP-Method-Override": "PATCH"})
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, "5000")
    assert client.post(url, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert client.post(url, headers=TUS).status_code == 405


def test_a_file_larger_than_the_deployment_takes_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    settings = Settings(data=tmp_path / "data", database_url=sqlite_url, max_archive_bytes=1000)
    with TestClient(create_app(settings), "http://127.0.0.1:8000") as client:
        response = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "5000"})
        assert_problem(response, 413, "upload_too_large", "GRAFT_MAX_ARCHIVE_BYTES")
        url = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"}).headers["location"]
        assert_problem(send(client, url, 0, DATA), 413, "upload_too_large", "1000")


def test_a_storage_that_is_away_keeps_nothing(client: TestClient, settings: Settings) -> None:
    url = create(client)
    settings.data.mkdir()
    (settings.data / "storage").touch()  # a file where the folder was
    assert_problem(send(client, url, 0, DATA), 503, "storage_unavailable")
    assert find_offset(client, url) == 0
