"""HTTP of datasets: uploads stream, and what is refused leaves no trace."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset, Job
from tests.support.archives import small_zip
from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from service.database import Database


def tarred(mode: str) -> bytes:
    """A small .tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("cat/1.png"), io.BytesIO())
    return file.getvalue()


def old_tar() -> bytes:
    """A small .tar as before POSIX: without its magic, known by the checksum of its header alone."""
    data = bytearray(tarred("w"))
    data[257:512] = bytes(255)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def stored(settings: Settings) -> list[Path]:
    """Every file and folder of datasets in the storage."""
    folder = settings.data / "storage" / "datasets"
    return sorted(folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize(
    "archive", [small_zip(), tarred("w"), tarred("w:gz"), old_tar()], ids=["zip", "tar", "tar.gz", "old"]
)
def test_an_archive_is_kept_as_it_came(client: TestClient, settings: Settings, archive: bytes) -> None:
    response = client.post("/v1/datasets", params={"name": "pets"}, content=archive)
    assert response.status_code == 202
    dataset = response.json()
    assert response.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert dataset["id"].startswith("ds_")
    assert (dataset["name"], dataset["status"], dataset["images"]) == ("pets", "validating", 0)
    kept = [path for path in stored(settings) if path.is_file()]
    assert [path.read_bytes() for path in kept] == [archive]
    assert client.get(f"/v1/datasets/{dataset['id']}").json() == dataset


def kept(settings: Settings) -> list[bytes]:
    """The archives in the storage."""
    return [path.read_bytes() for path in stored(settings) if path.is_file()]


@pytest.mark.parametrize("query", ["", "?name=mine"])
def test_the_file_of_a_form_is_kept_as_it_came(client: TestClient, settings: Settings, query: str) -> None:
    archive = small_zip()
    response = client.post(f"/v1/datasets{query}", files={"file": ("photos.zip", archive)}, data={"name": "pets"})
    assert response.status_code == 202, response.text
    assert response.json()["name"] == ("mine" if query else "pets")
    assert kept(settings) == [archive]


def test_a_form_without_an_archive_leaves_no_trace(client: TestClient, settings: Settings) -> None:
    assert_problem(client.post("/v1/datasets", files={"a": b"1"}), 422, "not_an_archive")
    two = {"a": ("a.zip", small_zip()), "b": ("b.zip", small_zip())}
    assert_problem(client.post("/v1/datasets", files=two), 400, "form_malformed", "several files")
    named = client.post("/v1/datasets", files={"a": ("a.zip", small_zip())}, data={"name": "a\nb"})
    assert_problem(named, 400, "form_malformed", "one line")
    assert stored(settings) == []


@pytest.mark.parametrize("archive", [small_zip(), tarred("w"), tarred("w:gz")], ids=["zip", "tar", "tar.gz"])
def test_a_compressed_body_is_kept_decompressed(client: TestClient, settings: Settings, archive: bytes) -> None:
    headers = {"content-encoding": "gzip"}
    assert client.post("/v1/datasets", content=gzip.compress(archive), headers=headers).status_code == 202
    assert kept(settings) == [archive]
    cut = client.post("/v1/datasets", content=gzip.compress(archive)[:-9], headers=headers)
    assert_problem(cut, 400, "bad_request", "ends too early")
    other = client.post("/v1/datasets", content=archive, headers={"content-encoding": "zstd"})
    assert_problem(other, 415, "unsupported_media_type", "zstd")
    assert kept(settings) == [archive]


def test_an_archive_without_its_line_breaks_is_refused(client: TestClient, settings: Settings) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    archive = small_zip() + random.Random(0).randbytes(8192)
    stripped = archive.replace(b"\n", b"").replace(b"\r", b"")
    for content in (stripped, small_zip().replace(b"\n", b"").replace(b"\r", b"").replace(b"\0", b"")):
        assert_problem(client.post("/v1/datasets", content=content, headers=headers), 422, "not_an_archive", "curl -d")
    assert stored(settings) == []
    assert client.post("/v1/datasets", content=archive, headers=headers).status_code == 202


def test_an_archive_is_taken_even_if_it_is_called_json(client: TestClient, settings: Settings) -> None:
    archive = small_zip()
    headers = {"content-type": "application/json"}
    assert client.post("/v1/datasets", content=archive, headers=headers).status_code == 202
    assert kept(settings) == [archive]


def _chunks(size: int) -> Iterator[bytes]:
    for _ in range(size):
        yield small_zip().ljust(1 << 16, b"\0")


@pytest.mark.parametrize(
    ("content", "status", "code", "says"),
    [
        (b"", 400, "empty_body", "curl"),
        (b"this is no archive", 422, "not_an_archive", "folder for each class"),
        (b"\x89PNG\r\n\x1a\n" * 100, 422, "not_an_archive", "folder for each class"),
        (bytes(1024), 422, "not_an_archive", "folder for each class"),
        (b"BZh91AY&SY" * 100, 422, "not_an_archive", "compressed by bzip2. Graft reads .zip, .tar and .tar.gz"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), 422, "not_an_archive", "a .7z archive"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(600), 422, "not_an_archive", "a .rar archive"),
    ],
)
def test_a_body_that_is_no_archive_is_refused_and_leaves_no_trace(
    client: TestClient,
    settings: Settings,
    rows: Callable[[], dict[str, int]],
    content: bytes,
    status: int,
    code: str,
    says: str,
) -> None:
    before = rows()
    assert_problem(client.post("/v1/datasets", content=content), status, code, says)
    assert stored(settings) == []
    assert rows() == before


def test_a_dataset_from_an_address_is_refused(client: TestClient) -> None:
    order = {"name": "x", "source": {"uri": "http://127.0.0.1/secret"}}
    assert_problem(client.post("/v1/datasets", json=order), 422, "import_not_offered", "Send the archive's bytes")


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_an_archive_is_refused_and_leaves_no_trace(settings: Settings, announced: bool) -> None:
    small = Settings(data=settings.data, database_url=settings.database_url, max_archive_bytes=3 << 20)
    with TestClient(create_app(small), "http://127.0.0.1:8000") as client:
        content = b"".join(_chunks(80)) if announced else _chunks(80)
        assert_problem(
            client.post("/v1/datasets", content=content), 413, "archive_too_large", "GRAFT_MAX_ARCHIVE_BYTES"
        )
        assert stored(small) == []
        assert client.post("/v1/datasets", content=_chunks(40)).status_code == 202


def test_while_the_storage_is_away_an_upload_is_refused(client: TestClient, settings: Settings) -> None:
    settings.data.mkdir(exist_ok=True)
    (settings.data / "storage").touch()  # a file where the folder should be
    assert_problem(client.post("/v1/datasets?name=d", content=small_zip()), 503, "storage_unavailable", "again")
    assert client.get("/v1/datasets").json()["data"] == []
    (settings.data / "storage").unlink()
    assert client.post("/v1/datasets?name=d", content=small_zip()).status_code == 202


def test_repeating_an_idempotency_key_creates_one_dataset(client: TestClient, settings: Settings) -> None:
    key = {"Idempotency-Key": "k"}
    archive = small_zip()  # with the time of its making
    first = client.post("/v1/datasets", content=archive, headers=key).json()
    again = client.post("/v1/datasets", content=archive, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert_problem(client.post("/v1/datasets", content=tarred("w"), headers=key), 422, "idempotency_key_reused")
    assert len([path for path in stored(settings) if path.is_file()]) == 1


def test_labels_are_read_unless_none_are_asked_for(client: TestClient, db: Database) -> None:
    key = {"Idempotency-Key": "k"}
    archive = small_zip()
    made = {}
    for labels in ("auto", "none"):
        made[labels] = client.post("/v1/datasets", params={"labels": labels}, content=archive).json()["id"]
    with db.reading() as session:
        assert {labels: session.get_one(Dataset, made[labels]).labels for labels in made} == {
            "auto": "auto",
            "none": "none",
        }
    assert client.post("/v1/datasets", content=archive, headers=key).status_code == 202
    other = client.post("/v1/datasets?labels=none", content=archive, headers=key)
    assert_problem(other, 422, "idempotency_key_reused")
    assert_problem(client.post("/v1/datasets?labels=some", content=archive), 422, "invalid_request", "'auto' or 'none'")


def test_lists_and_not_found(client: TestClient) -> None:
    made = [client.post("/v1/datasets", content=small_zip()).json()["id"] for _ in range(3)]
    page = client.get("/v1/datasets", params={"limit": 2}).json()
    assert [dataset["id"] for dataset in page["data"]] == made[:0:-1]
    rest = client.get("/v1/datasets", params={"after": page["last_id"]}).json()
    assert [dataset["id"] for dataset in rest["data"]] == made[:1]
    assert client.get("/v1/datasets", params={"status": "ready"}).json()["data"] == []
    assert_problem(client.get("/v1/datasets/ds_none"), 404, "dataset_not_found")


def test_deleting_removes_the_images_but_not_under_a_job(client: TestClient, db: Database, settings: Settings) -> None:
    made = client.post("/v1/datasets", content=small_zip()).json()["id"]
    assert client.delete(f"/v1/datasets/{made}").status_code == 204
    assert stored(settings) == []
    assert_problem(client.delete(f"/v1/datasets/{made}"), 404, "dataset_not_found")
    used = add_dataset(db)
    job = client.post("/v1/jobs", json={"dataset": used, "backbone": "local/own"}).json()["id"]
    assert_problem(client.delete(f"/v1/datasets/{used}"), 409, "dataset_in_use", job)
    with db.reading() as session:
        assert session.get(Job, job) is not None


def test_deleting_while_the_storage_does_not_answer_leaves_the_images_to_the_sweep(
    app: FastAPI, client: TestClient, unreachable_storage: str
) -> None:
    made = client.post("/v1/datasets", content=small_zip()).json()["id"]
    app.state.storage = Storage(unreachable_storage)
    assert client.delete(f"/v1/datasets/{made}").status_code == 204
    assert_problem(client.get(f"/v1/datasets/{made}"), 404, "dataset_not_found")


@pytest.mark.parametrize("name", ["a%0Ab", "x" * 256, "a%7F"])
def test_a_malformed_name_is_refused_and_leaves_no_trace(client: TestClient, settings: Settings, name: str) -> None:
    assert_problem(client.post(f"/v1/datasets?name={name}", content=small_zip()), 422, "invalid_request", "name")
    assert stored(settings) == []
