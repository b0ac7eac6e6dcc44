"""Multipart forms of the client, read by the service's own reader."""

from __future__ import annotations

import asyncio
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from graft import form
from graft.errors import InputUnusable
from graft.upload_source import list_source
from service.backbones.upload import FORM
from service.predictions.reading import SHAPE
from service.uploads.form import Form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from graft.upload_source import UploadSource


def send(fields: Mapping[str, str], files: Mapping[str, UploadSource | None]) -> tuple[dict[str, bytes], Form, int]:
    """Send a form, and read it as the service does; gives files, reader and the size that was counted."""
    sizes: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in form.stream(fields, files, sizes.append):
            yield chunk

    async def collect() -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async for name, block in reader.read(chunks()):
            found[name] = found.get(name, b"") + block
        return found

    reader = Form(form.HEADERS["Content-Type"], FORM)
    return asyncio.run(collect()), reader, sum(sizes)


def test_several_images_arrive_under_their_names(tmp_path: Path) -> None:
    image = tmp_path / 'my "cat".png'
    image.write_bytes(bytes(range(256)) * 900)
    content = form.join({"models": "flowers,ckpt_1"}, [image, b"bytes", b""])
    reader = Form(form.HEADERS["Content-Type"], SHAPE)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def collect() -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async for name, block in reader.read(chunks()):
            found[name] = found.get(name, b"") + block
        return found

    assert asyncio.run(collect()) == {"0": image.read_bytes(), "1": b"bytes"}
    assert reader.file_names == {"0": "my _cat_.png", "1": "", "2": ""}
    assert reader.fields == {"models": "flowers,ckpt_1"}


def test_what_is_sent_arrives(tmp_path: Path) -> None:
    network, samples = tmp_path / 'my "net".onnx', tmp_path / "samples"
    network.write_bytes(bytes(range(256)) * 9000)
    (samples / "cat").mkdir(parents=True)
    (samples / "cat" / "1.png").write_bytes(b"one")
    fields = form.write_options({"architecture": "resnet18", "labels": ["Blüte", "b"], "format": None})
    with form.packing(samples) as packed:
        files, reader, size = send(fields, {"file": list_source(network), "samples": packed})
    assert files["file"] == network.read_bytes()
    assert reader.fields == {"architecture": "resnet18", "labels": '["Bl\\u00fcte", "b"]'}
    assert reader.file_names == {"file": "my _net_.onnx", "samples": "samples.zip"}
    assert size == sum(map(len, files.values()))
    with zipfile.ZipFile(io.BytesIO(files["samples"])) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"cat/1.png": b"one"}


def test_a_folder_is_sent_as_a_tar(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_bytes(b"{}")
    files, _, _ = send({}, {"file": list_source(tmp_path / "net"), "samples": None})
    with tarfile.open(fileobj=io.BytesIO(files["file"])) as archive:
        assert archive.getnames() == ["config.json"]


def test_samples_may_be_an_archive_and_not_be_empty(tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_bytes(b"PK")
    with form.packing(tmp_path / "s.zip") as packed:
        assert packed == list_source(tmp_path / "s.zip")
    with form.packing(None) as packed:
        assert packed is None
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"hidden")
    with pytest.raises(InputUnusable, match="holds no files"), form.packing(tmp_path / "empty"):
        pass
