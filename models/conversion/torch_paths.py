"""Paths of an exported network: where its modules and tensors lie, and names of its values that show its stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def shorten(paths: dict[str, str]) -> dict[str, str]:
    """Leave out what most paths begin with before their first number: vit.encoder.layer.3.output → layer.3.output.

    Stages are then the numbered blocks of a network, whatever they are in.
    """
    counts: dict[str, int] = {}
    for path in paths.values():
        parts = path.split(".")
        number = next((place for place, part in enumerate(parts) if part.isdecimal()), 0)
        before = ".".join(parts[: max(0, number - 1)])
        if number:
            counts[before] = counts.get(before, 0) + 1
    prefix = max(counts, key=lambda before: counts[before], default="")
    common = [".".join(prefix.split(".")[:length]) for length in range(len(prefix.split(".")), 0, -1) if prefix]
    short: dict[str, str] = {}
    taken: set[str] = set()
    for name, path in paths.items():
        begin = next((before for before in common if path.startswith(f"{before}.")), "")
        wanted = path[len(begin) :].lstrip(".")
        short[name] = path if wanted in taken else wanted
        taken.add(short[name])
    return short


def find(root: nn.Module, path: str) -> Any:
    """Find what is at a path; None if nothing is."""
    found: Any = root
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def add(root: nn.Module, path: str, value: nn.Module | torch.Tensor) -> None:
    """Add a module, parameter or buffer at a path."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(value, nn.Module):
        root.add_module(name, value)
    elif isinstance(value, nn.Parameter):
        root.register_parameter(name, value)
    else:
        root.register_buffer(name, value)
