"""Uploads in pieces by the client, against a real service whose connections break."""

from __future__ import annotations

import os
import random
import resource
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from graft import resumable, tar_stream, unfinished_uploads
from graft.client import Client
from graft.errors import GraftError
from graft.upload_source import list_source
from service.app import create_app
from service.settings import Settings
from service.uploads import parts, repository
from tests.support.archives import small_zip
from tests.support.servers import free_port
from tests.support.serving import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
    monkeypatch.setattr(resumable, "PIECE_BYTES", 100_000)
    monkeypatch.setattr(tar_stream, "BLOCK", 50_000)


@pytest.fixture
def app(tmp_path: Path, sqlite_url: str) -> Iterator[FastAPI]:
    """A service that listens on a port of this machine."""
    port = free_port()
    app = create_app(Settings(data=tmp_path / "data", database_url=sqlite_url, port=port))
    with running(uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))):
        yield app


@pytest.fixture
def client(app: FastAPI) -> Iterator[Client]:
    """A client of it."""
    with Client(f"http://127.0.0.1:{app.state.settings.port}") as client:
        yield client


def read(app: FastAPI, upload: str) -> bytes:
    """Read an upload as one file."""
    with app.state.database.reading() as session:
        parts.write_list(app.state.storage, upload, repository.list_parts(session, upload))
    with parts.reading(app.state.storage, parts.get_folder(upload)) as file:
        return file.read()


def break_connections(client: Client, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> list[int]:
    """Break every second request with a piece, after the service has kept the piece or before it has come."""
    patch, sent = client._http.patch, []

    def break_one(*args: object, **kwargs: object) -> httpx.Response:
        sent.append(len(kwargs["content"]))
        if len(sent) % 2 == 0:
            if is_kept:
                patch(*args, **kwargs)
            raise httpx.RemoteProtocolError("the connection broke")
        return patch(*args, **kwargs)

    monkeypatch.setattr(client._http, "patch", break_one)
    monkeypatch.setattr("graft.connection.PAUSE_SECONDS", 0.0)
    return sent


def test_a_file_arrives_as_it_is(app: FastAPI, client: Client, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    sizes: list[int] = []
    upload = client.upload(tmp_path / "photos.zip", sizes.append)
    assert (read(app, upload), sizes) == (DATA, [100_000] * 3)
    shown = client.get_upload(upload)
    assert (shown["bytes"], shown["offset"], shown["metadata"]) == (300_000, 300_000, {"filename": "photos.zip"})


def test_a_folder_arrives_as_an_archive(app: FastAPI, client: Client, tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA[:70_000] + name.encode())
    assert read(app, client.upload(tmp_path / "photos")) == b"".join(list_source(tmp_path / "photos").read_blocks())


@pytest.mark.parametrize("is_kept", [True, False])
def test_only_the_last_piece_is_sent_again(
    app: FastAPI, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    sent = break_connections(client, monkeypatch, is_kept=is_kept)
    assert read(app, client.upload(tmp_path / "photos.zip")) == DATA
    assert sum(sent) == (300_000 if is_kept else 500_000)


def interrupt_after(size: int) -> Callable[[int], None]:
    """Press Ctrl-C once this many bytes are kept."""
    done = 0

    def interrupt(more: int) -> None:
        nonlocal done
        done += more
        if done >= size:
            raise KeyboardInterrupt

    return interrupt


def list_notes(tmp_path: Path) -> list[Path]:
    """List the notes of unfinished uploads."""
    return list((tmp_path / "notes" / "graft" / "uploads").iterdir())


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_an_interrupted_upload_is_continued_by_the_next_call(
    app: FastAPI, client: Client, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "photos"
    if kind == "folder":
        path.mkdir()
        (path / "1.jpg").write_bytes(DATA[:190_000])
        (path / "2.jpg").write_bytes(DATA[190_000:])
        whole = b"".join(list_source(path).read_blocks())
    else:
        path.write_bytes(DATA)
        whole = DATA
    with pytest.raises(KeyboardInterrupt):
        client.upload(path, interrupt_after(150_000))
    sizes: list[int] = []
    with Client(client.url) as other:
        upload = other.upload(path, sizes.append)
    assert read(app, upload) == whole
    assert sizes[0] >= 150_000, "what the service had is not sent again"
    assert sum(sizes) == len(whole)
    assert client.upload(path) == upload, "nothing was made of it yet"


def test_a_note_is_of_files_as_they_were_and_of_one_service(
    app: FastAPI, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(DATA)
    with pytest.raises(KeyboardInterrupt):
        client.upload(path, interrupt_after(1))
    path.write_bytes(DATA[::-1])
    assert read(app, client.upload(path)) == DATA[::-1]
    assert len(list_notes(tmp_path)) == 2
    old = time.time() - unfinished_uploads.KEEP_SECONDS - 1
    for note in list_notes(tmp_path):
        os.utime(note, (old, old))
    path.write_bytes(DATA[1:])
    client.upload(path)
    assert len(list_notes(tmp_path)) == 1


def test_two_processes_do_not_continue_the_same_upload(client: Client, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(small_zip())
    with unfinished_uploads.open_note(client.url, list_source(tmp_path / "photos.zip")) as note:
        note.write("/v1/uploads/up_other")
        (known,) = list_notes(tmp_path)
        assert client.upload(tmp_path / "photos.zip") != "up_other"
        assert known.read_text() == "/v1/uploads/up_other"
        client.create_dataset(tmp_path / "photos.zip", in_pieces=True)
        assert known.read_text() == "/v1/uploads/up_other", "it is of the other process"


def test_a_note_is_locked_until_a_dataset_is_made_of_the_upload(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.zip").write_bytes(small_zip())
    call, seen = client._call, []

    def look(*args: str, **more: Any) -> dict[str, Any]:
        with unfinished_uploads.open_note(client.url, list_source(tmp_path / "photos.zip")) as note:
            note.write("/v1/uploads/up_other")
        seen.append([file.read_text().startswith("/v1/uploads/up_other") for file in list_notes(tmp_path)])
        return call(*args, **more)

    monkeypatch.setattr(client, "_call", look)
    client.create_dataset(tmp_path / "photos.zip", in_pieces=True)
    assert seen == [[False]]
    assert list_notes(tmp_path) == []


def test_an_upload_needs_no_note(client: Client, app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = unfinished_uploads.Note.write

    def write_on_full_disk(note: unfinished_uploads.Note, address: str) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))  # EFBIG after five bytes
        try:
            write(note, address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(unfinished_uploads.Note, "write", write_on_full_disk)
    assert read(app, client.upload(tmp_path / "photos.zip")) == DATA
    assert list_notes(tmp_path) == []


def test_a_note_that_a_crash_has_spoilt_is_not_used(client: Client, app: FastAPI, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    with unfinished_uploads.open_note(client.url, list_source(tmp_path / "photos.zip")) as note:
        note.write("\0" * 20)
    assert read(app, client.upload(tmp_path / "photos.zip")) == DATA


def test_an_upload_needs_no_home(client: Client, app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and an entry in /etc/passwd
    assert read(app, client.upload(tmp_path / "photos.zip")) == DATA


def test_an_upload_that_the_service_has_lost_begins_anew(app: FastAPI, client: Client, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    with pytest.raises(KeyboardInterrupt):
        client.upload(tmp_path / "photos.zip", interrupt_after(1))
    with app.state.database.writing() as session:
        for upload in repository.list_unused(session):
            repository.delete_upload(session, upload)
    assert read(app, client.upload(tmp_path / "photos.zip")) == DATA


def test_an_upload_without_a_note_is_deleted_where_it_cannot_be_sent(
    app: FastAPI, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    (tmp_path / "notes").write_text("no folder")
    with pytest.raises(KeyboardInterrupt):
        client.upload(tmp_path / "photos.zip", interrupt_after(1))
    with app.state.database.reading() as session:
        assert repository.list_unused(session) == []
    assert app.state.storage.list_old_files(parts.FOLDER, -1) == []


def test_an_upload_that_the_service_lost_ends(
    app: FastAPI, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.zip").write_bytes(DATA)
    break_connections(client, monkeypatch, is_kept=False)

    def lose(_: int) -> None:
        with app.state.database.writing() as session:
            for upload in repository.list_unused(session):
                repository.delete_upload(session, upload)

    with pytest.raises(GraftError) as caught:
        client.upload(tmp_path / "photos.zip", lose)
    assert (caught.value.status, caught.value.code) == (404, "upload_not_found")


def test_datasets_and_backbones_are_made_of_pieces_where_they_are_large(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.zip").write_bytes(small_zip())
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch\n" + DATA)
    assert not resumable.choose(list_source(tmp_path / "photos.zip"), None)
    plain = client.create_dataset(tmp_path / "photos.zip", labels="none")
    monkeypatch.setattr(resumable, "LARGE", 1)
    assert resumable.choose(list_source(tmp_path), None)
    pieces = client.create_dataset(tmp_path / "photos.zip", labels="none")
    for made in (plain, pieces):
        assert (made["name"], made["status"]) == ("photos", "validating")
    assert list_notes(tmp_path) == [], "the same files would be another dataset"
    options = {"format": "onnx", "preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}, "labels": ["a", "b"]}
    backbone = client.create_backbone(tmp_path / "net.onnx", options=options)
    assert (backbone["name"], backbone["format"], backbone["digest"]) == ("net.onnx", "onnx", None)
    assert backbone["options"]["labels"] == ["a", "b"]
    named = client.create_backbone(tmp_path / "net.onnx", in_pieces=False)
    assert named["digest"] is not None
