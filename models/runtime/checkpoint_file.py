"""Checkpoint files: safetensors with all metadata, the same bytes for the same content.

The safetensors library writes metadata in random order, so we write the format ourselves: the length of the header
(8 bytes, little-endian), the header (JSON: for each tensor its type, shape and place), then the tensors' bytes.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

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
    # Large types first, so that every tensor is aligned to its type.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": TYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def collect_metadata(**facts: Any) -> dict[str, str]:
    """Convert facts, and the versions that matter, to the strings that a safetensors file can hold: JSON, or plain."""
    versions = {
        "graft_version": version("graft"),
        "torch_version": version("torch"),
        "timm_version": version("timm"),
        "python_version": platform.python_version(),
    }
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in {**facts, **versions}.items()}
