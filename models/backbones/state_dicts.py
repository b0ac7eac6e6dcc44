"""Names and shapes of a network's tensors: against those of a file, and as a fingerprint to find an architecture by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMES_SHOWN = 3
COUNTER = "num_batches_tracked"
"""BatchNorm's count of batches, which files older than PyTorch 0.4.1 lack; evaluation does not use it."""
POSITIONS = "pos_embed"
"""End of the names of what a transformer has learned of positions, whose number follows from the image's size."""

Shapes = dict[str, tuple[int, ...]]


def list_shapes(state: Mapping[str, torch.Tensor]) -> Shapes:
    """List the shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def to_float32(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert all floating-point tensors to float32."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def add_counters(state: Mapping[str, torch.Tensor], needed: Iterable[str]) -> dict[str, torch.Tensor]:
    """Add the counts of batches that a network needs and an old file lacks."""
    missing = [name for name in needed if name.endswith(COUNTER) and name not in state]
    return {**state, **{name: torch.tensor(0) for name in missing}}


def explain_difference(given: Mapping[str, Sequence[int]], needed: Mapping[str, Sequence[int]]) -> str | None:
    """Explain how the names and shapes of a file's tensors differ from those that a network needs; None if not."""
    missing = [name for name in needed if name not in given]
    unexpected = [name for name in given if name not in needed]
    other = [
        f"{name} ({_render(given[name])}, not {_render(needed[name])})"
        for name in needed
        if name in given and tuple(given[name]) != tuple(needed[name])
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    parts = [f"{len(names)} {what}, such as {', '.join(names[:NAMES_SHOWN])}" for what, names in found if names]
    return "; ".join(parts) or None


def compute_fingerprint(shapes: Mapping[str, Sequence[int]], classifiers: Iterable[str]) -> str:
    """Compute a digest of the names and shapes of all tensors but those of the classifiers, as 16 hex digits.

    It depends neither on the number of classes nor on the size of the images.
    """
    prefixes = tuple(f"{path}." for path in classifiers)
    lines = []
    for name, shape in sorted(shapes.items()):
        if not name.endswith(COUNTER) and not (prefixes and name.startswith(prefixes)):
            kept = tuple(shape)[-1:] if name.endswith(POSITIONS) else tuple(shape)
            lines.append(f"{name} {list(kept)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _render(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "one number"
