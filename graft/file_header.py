"""Headers of checkpoints' safetensors files: their bytes follow from metadata and from names, types and shapes."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of one element, by the format's names of types."""
DIGITS = 12
"""Digits of a tensor's digest in a head, which tell by name what differs; the trunk's digest is whole."""

HEAD_KEYS = TRUNK, TRUNK_DIGEST, WHOLE_DIGEST = "head_trunk", "head_trunk_digest", "head_checkpoint_digest"
"""Metadata that a head has and the whole file has not."""


class Entry(NamedTuple):
    """A tensor as a header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return SIZES[self.dtype] * math.prod(self.shape)


class Header(NamedTuple):
    """A parsed header."""

    metadata: dict[str, str]
    entries: list[Entry]
    """In the order of the file."""


def parse(header: bytes) -> Header:
    """Parse a header, with its length before it. Raises ValueError for one that Graft does not write."""
    fields: dict[str, Any] = json.loads(header[8:])
    metadata = fields.pop("__metadata__")
    found = Header(metadata, sort_entries(Entry(n, t["dtype"], tuple(t["shape"])) for n, t in fields.items()))
    if build(*found) != header:
        raise ValueError("The header of the safetensors file is not one that Graft writes.")
    return found


def build(metadata: Mapping[str, str], entries: Iterable[Entry]) -> bytes:
    """Build the header, with its length before it, of a file with these metadata and tensors."""
    fields: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for entry in sort_entries(entries):
        begin, end = end, end + entry.bytes
        fields[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(fields, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


def sort_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Sort tensors as they lie in a file: large types first, so that every tensor is aligned to its type."""
    return sorted(entries, key=lambda entry: (-SIZES[entry.dtype], entry.name))


def digest_trunk(entries: Sequence[Entry], digests: Sequence[str]) -> str:
    """Compute the SHA-256, in hex, of tensors: of a line for each with its name, type, shape and digest, by name."""
    lines = [
        f"{entry.name} {entry.dtype} {list(entry.shape)} {digest}\n"
        for entry, digest in zip(entries, digests, strict=True)
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
