"""Multipart forms: the one file comes out as it went in, whatever the size of the chunks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.datasets.errors import FormMalformed
from service.datasets.form import FormFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOUNDARY = "x-boundary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
FILE = b"PK\x03\x04\r\n--x-bound\r\n--\r\n" + bytes(range(256)) * 20


def part(content: bytes, disposition: str) -> bytes:
    """Build a part of a form."""
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
UPLOAD = part(FILE, 'name="file"; filename="photos.zip"')


def read(body: bytes, size: int = 1 << 20, kind: str = KIND) -> tuple[bytes, str]:
    """Read a form in chunks of this size; gives its file and its name."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def collect() -> bytes:
        return b"".join([block async for block in form.read(chunks())])

    form = FormFile(kind)
    return asyncio.run(collect()), form.name


@pytest.mark.parametrize("size", [1, 5, 64, 1 << 20])
def test_the_file_comes_out_as_it_went_in(size: int) -> None:
    assert read(UPLOAD + END, size) == (FILE, "")
    assert read(part("Blüten".encode(), 'name="name"') + UPLOAD + END, size) == (FILE, "Blüten")
    assert read(UPLOAD + part(b"flowers", 'name="name"') + END, size) == (FILE, "flowers")


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (UPLOAD + END, "multipart/form-data", "names no boundary"),
        (END, KIND, "holds no file"),
        (part(b"photos.zip", 'name="file"') + END, KIND, "field 'file' is no file.*curl -F file=@photos.zip"),
        (UPLOAD + UPLOAD + END, KIND, "several files"),
        (UPLOAD, KIND, "ends too early"),
        (b"this is no form", KIND, "cannot be read|ends too early"),
        (part(b"a\nb", 'name="name"') + UPLOAD + END, KIND, "name must be one line"),
        (part(b"\xff", 'name="name"') + UPLOAD + END, KIND, "name must be one line"),
        (part(b"x" * 2000, 'name="name"') + UPLOAD + END, KIND, "name is too long"),
        (part(b"1", 'name="file"; filename="' + "x" * 10_000 + '"') + END, KIND, "header"),
    ],
)
def test_a_malformed_form_is_refused(body: bytes, kind: str, says: str) -> None:
    with pytest.raises(FormMalformed, match=says):
        read(body, kind=kind)
