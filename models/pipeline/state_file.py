"""Save and load training state: another process resumes from the file with the same numbers.

They are safetensors files: everything but tensors is JSON in their metadata, with names in the places of tensors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "4"
"""Version of the file format: increase it when files of older versions can no longer be read."""


class StateUnreadable(Exception):
    """The file is damaged, or was written by another version of Graft."""


def write(path: Path, state: Any) -> None:
    """Write a state: dictionaries by strings, lists, and in them tensors and JSON values. Raises OSError."""
    tensors: dict[str, torch.Tensor] = {}
    encoded = _take_out_tensors(state, "", tensors)
    checkpoint_file.write(path, tensors, {"state": json.dumps(encoded), "version": VERSION})


def read(path: Path) -> Any:
    """Read a state, with its tensors on the CPU. Raises StateUnreadable."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("version") != VERSION:
                raise StateUnreadable(f"it has version {metadata.get('version', '1')}, this Graft reads {VERSION}")
            return _put_in_tensors(json.loads(metadata["state"]), file)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StateUnreadable(f"the file is damaged ({error})") from error


def _take_out_tensors(state: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    match state:
        case torch.Tensor():
            tensors[name] = state
            return {"$tensor": name}
        case dict():
            return {key: _take_out_tensors(value, f"{name}/{key}", tensors) for key, value in state.items()}
        case list() | tuple():
            return [_take_out_tensors(value, f"{name}/{place}", tensors) for place, value in enumerate(state)]
    return state


def _put_in_tensors(encoded: Any, file: Any) -> Any:
    match encoded:
        case {"$tensor": str(name)}:
            return file.get_tensor(name).clone()  # the library's lies in the file
        case dict():
            return {key: _put_in_tensors(value, file) for key, value in encoded.items()}
        case list():
            return [_put_in_tensors(value, file) for value in encoded]
    return encoded
