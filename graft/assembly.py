"""Assemble a checkpoint's whole file of its head (format=head) and the file of its backbone: the same bytes."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import IO, TYPE_CHECKING

from graft import file_header
from graft.errors import InputUnusable
from graft.file_header import DIGITS, HEAD_KEYS, TRUNK, TRUNK_DIGEST, WHOLE_DIGEST, Entry, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WEIGHTS = "model.safetensors"
"""The file of weights in a backbone's folder."""
MAX_HEADER_BYTES = 64 << 20
BLOCK = 1 << 20
SHOWN = 3
"""Most names of tensors in an error."""


def _widen_float16(block: bytes) -> bytes:
    """Convert float16 to float32, which holds each of its values."""
    count = len(block) // 2
    return struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", block))


def _widen_bfloat16(block: bytes) -> bytes:
    """Convert bfloat16 to float32, whose upper half it is."""
    widened = bytearray(2 * len(block))
    widened[2::4], widened[3::4] = block[::2], block[1::2]
    return bytes(widened)


WIDEN = {"F16": _widen_float16, "BF16": _widen_bfloat16}


class _File:
    """A safetensors file whose tensors are read by name."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises InputUnusable."""
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > MAX_HEADER_BYTES:
                    raise ValueError("its first bytes are no length of a header")
                fields = json.loads(file.read(length))
                self.metadata: dict[str, str] = fields.pop("__metadata__", {})
                self.entries = {name: Entry(name, f["dtype"], tuple(f["shape"])) for name, f in fields.items()}
                self._begins = {name: 8 + length + int(f["data_offsets"][0]) for name, f in fields.items()}
                sizes = {name: int(f["data_offsets"][1]) - int(f["data_offsets"][0]) for name, f in fields.items()}
            if 8 + length + sum(sizes.values()) > path.stat().st_size:
                raise ValueError("it is cut off")
            self._sizes = sizes
            self._conversions: dict[str, Callable[[bytes], bytes]] = {}
        except OSError as error:
            raise InputUnusable(f"{path} cannot be read ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputUnusable(f"{path} cannot be read as a safetensors file ({error}).") from error

    def read(self, file: IO[bytes], name: str) -> Iterator[bytes]:
        """Read a tensor from the opened file, block by block."""
        file.seek(self._begins[name])
        convert = self._conversions.get(name)
        left = self._sizes[name]
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise InputUnusable(f"{self.path} is cut off; download it again.")
            left -= len(block)
            yield convert(block) if convert else block

    def widen(self, name: str) -> None:
        """Read a tensor of half precision as float32 from now on, as it is loaded."""
        self._conversions[name] = WIDEN[self.entries[name].dtype]
        self.entries[name] = self.entries[name]._replace(dtype="F32")

    def digest(self, file: IO[bytes], name: str) -> str:
        """Compute the SHA-256 of a tensor, in hex."""
        digest = hashlib.sha256()
        for block in self.read(file, name):
            digest.update(block)
        return digest.hexdigest()


def assemble(head: Path, backbone: Path, output: Path) -> Path:
    """Write the checkpoint's whole file to `output`, the same bytes as a download of it.

    Args:
        head: a file of format=head.
        backbone: the backbone's model.safetensors, or the folder with it.
        output: the file to write; it appears when it is whole and has the checkpoint's digest.

    Raises InputUnusable, which names the tensors that do not fit.
    """
    own = _File(head)
    if any(key not in own.metadata for key in HEAD_KEYS):
        raise InputUnusable(f"{head} is not the head of a checkpoint; download one by graft export CKPT --format head.")
    trunk: dict[str, str] = json.loads(own.metadata[TRUNK])
    weights = _File(backbone / WEIGHTS if backbone.is_dir() else backbone)
    named = own.metadata.get("backbone", "its backbone")
    with weights.path.open("rb") as weights_file, head.open("rb") as head_file:
        _check_trunk(own, weights, trunk, weights_file, named)
        entries = [*own.entries.values(), *(weights.entries[name] for name in trunk)]
        metadata = {key: value for key, value in own.metadata.items() if key not in HEAD_KEYS}
        part = output.with_name(f"{output.name}.part")
        digest = hashlib.sha256()
        try:
            with part.open("wb") as file:
                for block in _read_whole(Header(metadata, entries), own, weights, head_file, weights_file):
                    digest.update(block)
                    file.write(block)
            if f"sha256:{digest.hexdigest()}" != own.metadata[WHOLE_DIGEST]:
                raise InputUnusable(f"{head} was changed since it was downloaded; download it again.")
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    return output


def _read_whole(
    header: Header, own: _File, weights: _File, head_file: IO[bytes], weights_file: IO[bytes]
) -> Iterator[bytes]:
    yield file_header.build(header.metadata, header.entries)
    for entry in file_header.sort_entries(header.entries):
        is_own = entry.name in own.entries
        yield from own.read(head_file, entry.name) if is_own else weights.read(weights_file, entry.name)


def _check_trunk(own: _File, weights: _File, trunk: dict[str, str], file: IO[bytes], named: str) -> None:
    """Check that the backbone's file has the tensors of the trunk. Raises InputUnusable."""
    where = f"The checkpoint is a fine-tune of {named}"
    missing = [name for name in trunk if name not in weights.entries]
    if missing:
        has = ", ".join(list(weights.entries)[:SHOWN])
        raise InputUnusable(
            f"{weights.path} lacks {_list(missing)} of {len(trunk)} tensors of the trunk; it has {has}, … "
            f"{where}: give the file of that backbone, whose tensors have these names, or download the whole "
            "checkpoint."
        )
    digests = {name: weights.digest(file, name) for name in trunk}
    for name, digest in trunk.items():
        if digests[name][:DIGITS] != digest and weights.entries[name].dtype in WIDEN:
            weights.widen(name)
            digests[name] = weights.digest(file, name)
    other = [name for name, digest in trunk.items() if digests[name][:DIGITS] != digest]
    entries = [weights.entries[name] for name in trunk]
    found = file_header.digest_trunk(entries, [digests[name] for name in trunk])
    if other or f"sha256:{found}" != own.metadata[TRUNK_DIGEST]:
        differs = f"other values for {_list(other)}" if other else "the trunk's tensors in other types or shapes"
        raise InputUnusable(
            f"{weights.path} has {differs}, of {len(trunk)} tensors of the trunk. {where}: give the file of that very "
            "backbone, or download the whole checkpoint."
        )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
