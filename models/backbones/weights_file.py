"""Weights as a safetensors file: what its header says of its tensors, checked before any of them is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from models.backbones.errors import WeightsBroken

if TYPE_CHECKING:
    from pathlib import Path

    import torch

WEIGHTS = "model.safetensors"
MAX_HEADER_BYTES = 16 << 20
"""Longest header that is parsed: a hundred times that of the largest network of timm."""
LENGTH_BYTES = 8
"""A file begins with the length of its header."""
BROKEN = (
    "The weights of {name} cannot be read ({error}): the file is truncated or damaged. Copy it again; if it came from "
    "the Hub, delete it from HF_HOME first."
)
STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
"""Buffers of BatchNorm, which are no parameters."""


def count_parameters(name: str, file: Path) -> int:
    """Count the parameters in the file of weights of backbone `name`; BatchNorm's buffers do not count.

    Raises WeightsBroken.
    """
    try:
        if not file.is_file():  # one would wait for ever for what a pipe holds
            raise SafetensorError("it is no file")
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        if header > MAX_HEADER_BYTES:
            raise SafetensorError(f"its header claims {header:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        with safe_open(file, framework="np") as tensors:  # checks that types, shapes and offsets fit the file
            shapes = {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118  # no dict
    except (SafetensorError, OSError) as error:
        raise WeightsBroken(BROKEN.format(name=name, error=error)) from error
    return sum(math.prod(shape) for key, shape in shapes.items() if key.split(".")[-1] not in STATISTICS)


def read_weights(name: str, file: Path) -> dict[str, torch.Tensor]:
    """Read the weights of backbone `name`; raises WeightsBroken."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsBroken(BROKEN.format(name=name, error=error)) from error
