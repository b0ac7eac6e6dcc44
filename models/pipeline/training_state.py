"""Snapshots: files from which another process goes on with a training, with the same numbers.

They are safetensors files: what is no tensor stands as JSON in their metadata, with names in the places of tensors.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEAST_SECONDS = 1.0
"""Between two snapshots at the ends of epochs: of a head alone, one takes longer than many an epoch."""


class Pace:
    """When a snapshot is due."""

    def __init__(self, seconds: float = math.inf, is_wanted: Callable[[], bool] = lambda: False) -> None:
        """`seconds`: most between two of them. `is_wanted()`: whether somebody wants one now."""
        self._seconds, self._is_wanted = seconds, is_wanted
        self._taken = time.monotonic()

    def is_due(self, *, ends_epoch: bool) -> bool:
        """Whether to take one here; says so once, and counts from then on."""
        enough = min(LEAST_SECONDS, self._seconds) if ends_epoch else self._seconds
        if time.monotonic() - self._taken < enough and not self._is_wanted():
            return False
        self._taken = time.monotonic()
        return True


def write(path: Path, state: Any) -> None:
    """Write a state: dictionaries by strings, lists, and in them tensors and what JSON has. Raises OSError."""
    tensors: dict[str, torch.Tensor] = {}
    said = _without_tensors(state, "", tensors)
    checkpoint_file.write(path, tensors, {"state": json.dumps(said)})


def read(path: Path) -> Any:
    """The state that was written; tensors lie on the processor."""
    with safe_open(path, "pt") as file:
        return _with_tensors(json.loads(file.metadata()["state"]), file)


def _without_tensors(state: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    match state:
        case torch.Tensor():
            tensors[name] = state
            return {"$tensor": name}
        case dict():
            return {key: _without_tensors(value, f"{name}/{key}", tensors) for key, value in state.items()}
        case list() | tuple():
            return [_without_tensors(value, f"{name}/{place}", tensors) for place, value in enumerate(state)]
    return state


def _with_tensors(said: Any, file: Any) -> Any:
    match said:
        case {"$tensor": str(name)}:
            return file.get_tensor(name).clone()  # the library's lies in the file
        case dict():
            return {key: _with_tensors(value, file) for key, value in said.items()}
        case list():
            return [_with_tensors(value, file) for value in said]
    return said
