"""Metadata of a TFLite file: names of classes, normalization, licence (TFLite Metadata, a table in the file's buffers).

Associated files, such as the list of class names, are a zip at the end of the file.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

BUFFER_NAME = b"TFLITE_METADATA"
MAX_LABEL_BYTES = 4 << 20
NORMALIZATION = 1
"""Number of NormalizationOptions in the union of process units."""


@dataclass(frozen=True)
class TfliteMetadata:
    """Facts of the metadata; None where they are silent."""

    mean: tuple[float, ...] | None = None
    """Mean of the pixels from 0 to 255, one for all channels or one for each."""
    std: tuple[float, ...] | None = None
    licence: str | None = None
    labels: list[str] | None = None


def read_metadata(path: Path) -> TfliteMetadata:
    """Read a file's metadata; damaged ones count as none, for the network does not need them."""
    labels = _read_labels(path)
    try:
        mean, std, licence = _read_table(path.read_bytes())
    except (struct.error, IndexError, ValueError, TypeError):
        return TfliteMetadata(labels=labels)
    return TfliteMetadata(mean, std, licence, labels)


def _read_labels(path: Path) -> list[str] | None:
    """Read the class names in the zip at the end of the file, one a line."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).suffix == ".txt"]
            named = [entry for entry in texts if "label" in entry.filename.lower()] or texts
            if len(named) != 1 or named[0].file_size > MAX_LABEL_BYTES:
                return None
            lines = archive.read(named[0]).decode().splitlines()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, RuntimeError, OSError):
        return None
    return [line.strip() for line in lines if line.strip()] or None


def _read_table(data: bytes) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, str | None]:
    """Read mean, standard deviation and licence from the metadata's tables, by their places in the schema."""
    from flatbuffers.encode import Get
    from flatbuffers.packer import uoffset

    model = _Table(data, Get(uoffset, data, 0))
    buffers = model.tables(4)
    for entry in model.tables(6):
        if entry.text(0) == BUFFER_NAME.decode():
            content = buffers[entry.number(1)].data(0)
            metadata = _Table(content, Get(uoffset, content, 0))
            licence = metadata.text(5)
            for tensor in (tensor for graph in metadata.tables(2) for tensor in graph.tables(2)):
                for unit in tensor.tables(4):
                    if unit.byte(0) == NORMALIZATION and (options := unit.table(1)) is not None:
                        return options.floats(0), options.floats(1), licence
            return None, None, licence
    return None, None, None


class _Table:
    """A table of a flatbuffer, whose fields are read by their numbers."""

    def __init__(self, data: bytes, position: int) -> None:
        from flatbuffers.table import Table

        self._table: Any = Table(bytearray(data), position)

    def _offset(self, field: int) -> int:
        offset: int = self._table.Offset(4 + 2 * field)
        return offset

    def number(self, field: int) -> int:
        """Read an unsigned number of four bytes."""
        offset = self._offset(field)
        return int.from_bytes(self._table.Bytes[(at := self._table.Pos + offset) : at + 4], "little") if offset else 0

    def byte(self, field: int) -> int:
        """Read a byte."""
        offset = self._offset(field)
        return int(self._table.Bytes[self._table.Pos + offset]) if offset else 0

    def text(self, field: int) -> str | None:
        """Read a text."""
        offset = self._offset(field)
        return self._table.String(self._table.Pos + offset).decode() if offset else None

    def table(self, field: int) -> _Table | None:
        """Read a table, or what a union holds."""
        offset = self._offset(field)
        return _Table(self._table.Bytes, self._table.Indirect(self._table.Pos + offset)) if offset else None

    def tables(self, field: int) -> list[_Table]:
        """Read a vector of tables."""
        offset = self._offset(field)
        if not offset:
            return []
        start = self._table.Vector(offset)
        return [
            _Table(self._table.Bytes, self._table.Indirect(start + 4 * index))
            for index in range(self._table.VectorLen(offset))
        ]

    def data(self, field: int) -> bytes:
        """Read a vector of bytes."""
        offset = self._offset(field)
        start = self._table.Vector(offset) if offset else 0
        return bytes(self._table.Bytes[start : start + (self._table.VectorLen(offset) if offset else 0)])

    def floats(self, field: int) -> tuple[float, ...] | None:
        """Read a vector of numbers."""
        offset = self._offset(field)
        if not offset:
            return None
        return struct.unpack_from(f"<{self._table.VectorLen(offset)}f", self._table.Bytes, self._table.Vector(offset))
