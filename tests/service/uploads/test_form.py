"""Multipart forms: files come out as they went in, whatever the size of the chunks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.uploads.errors import FormMalformed
from service.uploads.form import Form, FormShape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOUNDARY = "x-boundary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
FILE = b"PK\x03\x04\r\n--x-bound\r\n--\r\n" + bytes(range(256)) * 20


def part(content: bytes, disposition: str) -> bytes:
    """Build a part of a form."""
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


SHAPE = FormShape(
    how="as in: curl -F file=@photos.zip URL", fields={"name": 1024, "labels": 9}, files=("file", "samples")
)
END = f"--{BOUNDARY}--\r\n".encode()
UPLOAD = part(FILE, 'name="file"; filename="photos.zip"')


def read(
    body: bytes, size: int = 1 << 20, kind: str = KIND, shape: FormShape = SHAPE
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Read a form in chunks of this size; gives its files and its fields."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def collect() -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        async for name, block in form.read(chunks()):
            files[name] = files.get(name, b"") + block
        return files

    form = Form(kind, shape)
    return asyncio.run(collect()), form.fields


@pytest.mark.parametrize("size", [1, 5, 64, 1 << 20])
def test_files_come_out_as_they_went_in(size: int) -> None:
    assert read(UPLOAD + END, size) == ({"file": FILE}, {})
    assert read(part("Blüten".encode(), 'name="name"') + UPLOAD + END, size) == ({"file": FILE}, {"name": "Blüten"})
    assert read(UPLOAD + part(b"flowers", 'name="name"') + END, size) == ({"file": FILE}, {"name": "flowers"})
    samples = part(FILE[:50], 'name="samples"; filename="s.zip"')
    assert read(samples + UPLOAD + END, size) == ({"file": FILE, "samples": FILE[:50]}, {})


def test_a_field_may_come_from_a_file() -> None:
    labels = part(b"cat\ndog", 'name="labels"; filename="labels.txt"')
    assert read(labels + UPLOAD + END) == ({"file": FILE}, {"labels": "cat\ndog"})


def test_a_form_may_lack_a_file_that_is_not_required() -> None:
    shape = FormShape(how="", fields={"name": 9}, files=("samples",), is_file_required=False)
    assert read(part(b"x", 'name="name"') + END, shape=shape) == ({}, {"name": "x"})


def test_a_file_of_another_name_does_not_count_as_one_that_is_not_required() -> None:
    shape = FormShape(
        how="as in: curl -F samples=@s.zip", fields={"name": 9}, files=("samples",), is_file_required=False
    )
    with pytest.raises(FormMalformed, match="file is called 'file'; it may hold samples, as in: curl -F samples"):
        read(UPLOAD + END, shape=shape)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (UPLOAD + END, "multipart/form-data", "names no boundary"),
        (END, KIND, "holds no file"),
        (part(b"photos.zip", 'name="file"') + END, KIND, "field 'file' is no file.*curl -F file=@photos.zip"),
        (UPLOAD + UPLOAD + END, KIND, "several files"),
        (
            UPLOAD + part(b"x", 'name="sample"; filename="s.zip"') + END,
            KIND,
            "Both 'file' and 'sample' of the form count as its file. Files are called file and samples, or .*name",
        ),
        (UPLOAD, KIND, "ends too early"),
        (b"this is no form", KIND, "cannot be read|ends too early"),
        (part(b"\xff", 'name="name"') + UPLOAD + END, KIND, "name must be text in UTF-8"),
        (part(b"x", 'name="name"') * 2 + UPLOAD + END, KIND, "name is there twice"),
        (part(b"x" * 2000, 'name="name"') + UPLOAD + END, KIND, "name is too long"),
        (part(b"1", 'name="file"; filename="' + "x" * 10_000 + '"') + END, KIND, "header"),
    ],
)
def test_a_malformed_form_is_refused(body: bytes, kind: str, says: str) -> None:
    with pytest.raises(FormMalformed, match=says):
        read(body, kind=kind)
