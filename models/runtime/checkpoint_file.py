"""Checkpoint files: safetensors with all metadata, the same bytes for the same content.

The safetensors library writes metadata in random order, so we write the format ourselves: the header, whose bytes
`graft.file_header` builds, then the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from graft.file_header import Entry, build, sort_entries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names of types."""


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a checkpoint file; metadata and tensors go in a fixed order."""
    assert sys.byteorder == "little", "the format is little-endian, and tensors are written as they lie in memory"
    entries = sort_entries(Entry(name, TYPES[one.dtype], tuple(one.shape)) for name, one in tensors.items())
    with path.open("wb") as file:
        file.write(build(metadata, entries))
        for entry in entries:
            file.write(_view_bytes(tensors[entry.name]))


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Compute the SHA-256, in hex, of the type, the shape and the bytes of each tensor."""
    digests = {}
    for name, tensor in tensors.items():
        digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(_view_bytes(tensor))
        digests[name] = digest.hexdigest()
    return digests


def _view_bytes(tensor: torch.Tensor) -> memoryview:
    """View a tensor's bytes as they lie in memory, copied where it is on another device or not contiguous."""
    view: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return view


def collect_metadata(**facts: Any) -> dict[str, str]:
    """Convert facts, and the versions that matter, to the strings that a safetensors file can hold: JSON, or plain."""
    versions = {
        "graft_version": version("graft"),
        "torch_version": version("torch"),
        "timm_version": version("timm"),
        "python_version": platform.python_version(),
    }
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in {**facts, **versions}.items()}
