"""Headers of checkpoints' safetensors files, split into what fine-tunes of a backbone share and what is a file's own.

A file's bytes follow from its metadata and from its tensors' names, types and shapes: their order is fixed, and their
places follow from it. So a header is stored as those alone, and built again to the byte.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from graft.file_header import DIGITS, TRUNK, TRUNK_DIGEST, WHOLE_DIGEST, Entry, Header, build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHARED = ("graph", "python")
"""Metadata that say how the network is built, and are long: stored with what fine-tunes share."""
TRAINED = "trained_tensors"
"""Metadata with the names of the tensors that differ from the backbone's."""


def find_trained(header: Header) -> set[str]:
    """Find the names of the tensors that differ from the backbone's.

    Files of earlier releases do not state them: those of the classifier, and of layers in place of others, do.
    """
    names = {entry.name for entry in header.entries}
    if TRAINED in header.metadata:
        return names & set(json.loads(header.metadata[TRAINED]))
    classifier = json.loads(header.metadata.get("pretrained_cfg", "{}")).get("classifier") or ()
    paths = [classifier] if isinstance(classifier, str) else list(classifier)
    paths += json.loads(header.metadata.get("replaced", "{}"))
    return {name for name in names if any(name.startswith(f"{path}.") for path in paths)}


def pack(metadata: Mapping[str, str], entries: Sequence[Entry]) -> bytes:
    """Pack metadata and tensors, compressed."""
    return zlib.compress(json.dumps([dict(metadata), entries], separators=(",", ":")).encode(), 9)


def unpack(packed: bytes) -> Header:
    """Unpack metadata and tensors."""
    metadata, entries = json.loads(zlib.decompress(packed))
    return Header(metadata, [Entry(name, dtype, tuple(shape)) for name, dtype, shape in entries])


def build_head(
    header: Header, own: Sequence[Entry], trunk: Mapping[str, str], trunk_digest: str, whole_digest: str
) -> bytes:
    """Build the header of a file that has a checkpoint's own tensors alone.

    Its metadata add to those of the checkpoint the digest of the trunk, the first digits of each of its tensors'
    digests by name, by which the tensor that differs is found, and the digest of the whole file.
    """
    added = {
        TRUNK: json.dumps({name: digest[:DIGITS] for name, digest in trunk.items()}, separators=(",", ":")),
        TRUNK_DIGEST: f"sha256:{trunk_digest}",
        WHOLE_DIGEST: f"sha256:{whole_digest}",
    }
    return build({**header.metadata, **added}, own)
