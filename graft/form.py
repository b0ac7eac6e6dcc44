"""Multipart forms, streamed: fields of text, files, and folders that are packed on the way."""

from __future__ import annotations

import json
import tempfile
import uuid
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft import tar_stream
from graft.errors import InputUnusable
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BOUNDARY = uuid.uuid4().hex
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def write_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Write options as fields: text as it is, anything else as JSON; None is left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def stream(
    fields: Mapping[str, str], files: Mapping[str, UploadSource | None], sent: Callable[[int], None]
) -> Iterator[bytes]:
    """Stream a form; a folder is sent as a .tar. `sent` is called with the size of each block of a file."""
    for name, value in fields.items():
        yield _head(f'name="{name}"') + value.encode() + b"\r\n"
    for name, source in files.items():
        if source is None:
            continue
        file_name = source.path.name.replace("\\", "_").replace('"', "_")
        yield _head(f'name="{name}"; filename="{file_name}"')
        yield from tar_stream.count(source.read_blocks(), sent)
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def join(fields: Mapping[str, str], files: Sequence[Path | bytes]) -> bytes:
    """Join a form of fields and files, which are few and small enough to be sent again."""
    parts = [_head(f'name="{name}"') + value.encode() + b"\r\n" for name, value in fields.items()]
    for file in files:
        name = "" if isinstance(file, bytes) else file.name.replace("\\", "_").replace('"', "_")
        parts.append(_head(f'name="file"; filename="{name}"') + read_image(file) + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def _head(disposition: str) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()


def read_image(image: str | Path | bytes) -> bytes:
    """Read an image, a path or the bytes of a file."""
    return image if isinstance(image, bytes) else Path(image).read_bytes()


@contextmanager
def packing(samples: Path | None) -> Iterator[UploadSource | None]:
    """Pack a folder of samples as a .zip, which is removed afterwards; a file is taken as it is.

    Raises InputUnusable, OSError.
    """
    source = None if samples is None else list_source(samples)
    if source is None or not source.is_folder:
        yield source
        return
    if not source.files:
        raise InputUnusable(f"{samples} holds no files. Samples are a folder of images for each expected class.")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "samples.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for path in source.files:
                archive.write(path, path.relative_to(source.path))
        yield list_source(packed)
