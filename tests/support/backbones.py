"""Backbones as workers list them."""

from __future__ import annotations

from typing import Any


def build_listing(name: str, parameters: int = 1000, **columns: Any) -> dict[str, Any]:
    """Build the listing of a backbone by a worker, as columns of its row."""
    return {
        "id": name,
        "source": name.split("/")[0],
        "architecture": "resnet18",
        "parameters": parameters,
        "input_size": [3, 64, 64],
        "licence": None,
        "accuracy": None,
        "multiply_adds": None,
        **columns,
    }
