"""Manifests of stored files: what a checkpoint shares with other fine-tunes of its backbone, and what is its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft import file_header
from service.checkpoints import headers
from service.tables import Trunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from graft.file_header import Header


@dataclass(frozen=True)
class Manifest:
    """Contents of a stored file."""

    trunk: Trunk
    """The row of what it shares with other fine-tunes of its backbone."""
    trunk_tensors: Sequence[str]
    """Digests of the trunk's tensors, in its order."""
    header: bytes
    """Its own metadata and tensors, packed."""
    tensors: Sequence[str]
    """Digests of its own tensors."""
    bytes: int
    digest: str
    """SHA-256 of the whole file, in hex."""
    head_bytes: int
    head_digest: str
    """Size and SHA-256 of the file of its own tensors alone."""


def describe(
    header: Header, digests: Sequence[str], size: int, digest: str, read_tensor: Callable[[int], Iterable[bytes]]
) -> Manifest:
    """Describe a file by what it shares with other fine-tunes and what is its own.

    Args:
        header: of the file.
        digests: of its tensors, in its order.
        size: of the file.
        digest: of the file.
        read_tensor: reads the bytes of the tensor at a position in its order.
    """
    trained = headers.find_trained(header)
    rows = list(zip(header.entries, digests, strict=True))
    own = [row for row in rows if row[0].name in trained]
    shared = [row for row in rows if row[0].name not in trained]
    own_entries, shared_entries = [entry for entry, _ in own], [entry for entry, _ in shared]
    metadata, shared_metadata = _split_metadata(header.metadata)
    packed = headers.pack(shared_metadata, shared_entries)
    trunk_tensors = [tensor for _, tensor in shared]
    trunk_digest = file_header.digest_trunk(shared_entries, trunk_tensors)
    head = headers.build_head(header, own_entries, {e.name: d for e, d in shared}, trunk_digest, digest)
    hasher = hashlib.sha256(head)
    for place, entry in enumerate(header.entries):
        if entry.name in trained:
            for block in read_tensor(place):
                hasher.update(block)
    return Manifest(
        trunk=Trunk(id=_identify(shared_metadata, trunk_digest), digest=trunk_digest, header=packed),
        trunk_tensors=trunk_tensors,
        header=headers.pack(metadata, own_entries),
        tensors=[tensor for _, tensor in own],
        bytes=size,
        digest=digest,
        head_bytes=len(head) + sum(entry.bytes for entry in own_entries),
        head_digest=hasher.hexdigest(),
    )


def _split_metadata(metadata: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split metadata into a file's own and those of its trunk."""
    own = {name: value for name, value in metadata.items() if name not in headers.SHARED}
    return own, {name: metadata[name] for name in headers.SHARED if name in metadata}


def _identify(shared_metadata: dict[str, str], trunk_digest: str) -> str:
    return hashlib.sha256(f"{json.dumps(shared_metadata, sort_keys=True)}{trunk_digest}".encode()).hexdigest()
