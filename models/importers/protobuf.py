"""Tell protobuf files apart by their outermost fields, without their schemas: ONNX, SavedModel, frozen graphs, Core ML.

A message is a row of fields, each with a number, a wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four
bytes) and a value. Fields of length and bytes are skipped, so that a large file costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 2_000_000
MAX_VARINT_BYTES = 10
ONNX_FIELDS = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES, 14: BYTES, 20: BYTES,
               25: BYTES, 26: BYTES}  # fmt: skip
"""Fields of onnx.ModelProto: ir_version, producer, …, graph (7), opset_import (8), …."""
COREML_KINDS = range(200, 3001)
"""Fields of Core ML's Model that hold the network, one for each kind."""
CAFFE_FIELDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES, 100: BYTES}
"""Fields of caffe.NetParameter: name, layers of version 1 (2), …, layer (100)."""


@dataclass(frozen=True)
class Fields:
    """The outermost fields of a message."""

    kinds: dict[int, int]
    """Wire type by field number, of fields that have always the same."""
    first: dict[int, bytes]
    """First bytes of the first field of each number that holds bytes."""
    is_whole: bool
    """Whether the last field ends where the file ends; else the file is truncated, or no message."""


def read_fields(path: Path) -> Fields | None:
    """Read the outermost fields of a file; None if it is no message."""
    length = path.stat().st_size
    kinds: dict[int, int] = {}
    first: dict[int, bytes] = {}
    with path.open("rb") as file:
        for _ in range(MAX_FIELDS):
            if file.tell() >= length:
                return Fields(kinds, first, file.tell() == length)
            tag = _read_varint(file)
            if tag is None or tag >> 3 == 0 or kinds.get(tag >> 3, tag & 7) != tag & 7:
                return None
            kinds[tag >> 3] = tag & 7
            if not _skip(file, tag, first):
                return None
    return None


def _skip(file: IO[bytes], tag: int, first: dict[int, bytes]) -> bool:
    """Skip a field's value; false if it has none."""
    match tag & 7:
        case 0:
            return _read_varint(file) is not None
        case 1 | 5:
            file.seek(8 if tag & 7 == FIXED64 else 4, 1)
            return True
        case 2:
            size = _read_varint(file)
            if size is None:
                return False
            start = file.tell()
            first.setdefault(tag >> 3, file.read(min(size, 64)))
            file.seek(start + size)
            return True
    return False


def _read_varint(file: IO[bytes]) -> int | None:
    value = 0
    for place in range(MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    return None


def recognize(path: Path) -> str | None:
    """Tell what a protobuf file is: onnx, saved_model_pb, frozen_graph, coreml, caffe or truncated; None if no such."""
    fields = read_fields(path)
    if fields is None or not fields.kinds:
        return None
    kind = _find_kind(fields)
    return "truncated" if kind is not None and not fields.is_whole else kind


def _find_kind(fields: Fields) -> str | None:
    kinds, first = fields.kinds, fields.first
    if kinds.get(1) == VARINT and _fits(kinds, ONNX_FIELDS) and {7, 8} & set(kinds):
        return "onnx"
    if kinds.get(1) == VARINT and any(number in COREML_KINDS for number in kinds):
        return "coreml"
    if kinds == {1: VARINT, 2: BYTES} and first[2][:1] == b"\n":  # MetaInfoDef of the first MetaGraphDef
        return "saved_model_pb"
    if set(kinds) <= {1, 2, 3, 4} and kinds.get(1) == BYTES and _is_node(first[1]):
        return "frozen_graph"
    if _fits(kinds, CAFFE_FIELDS) and {2, 100} & set(kinds) and kinds.get(1) == BYTES:
        return "caffe"
    return None


def _fits(kinds: dict[int, int], expected: dict[int, int]) -> bool:
    return all(expected.get(number) == kind for number, kind in kinds.items())


def _is_node(message: bytes) -> bool:
    """Tell whether bytes begin as TensorFlow's NodeDef: a name (1), then an operation (2)."""
    if len(message) < 4 or message[0] != 0x0A or message[1] >= 0x80:
        return False
    end = 2 + message[1]
    return end >= len(message) or message[end] == 0x12
