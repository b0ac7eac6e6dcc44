"""Paths of exported networks."""

from __future__ import annotations

from models.conversion.torch_paths import shorten


def test_paths_begin_at_the_numbered_blocks() -> None:
    paths = {
        "a": "vit.embeddings.norm",
        "b": "vit.encoder.layer.0.mlp",
        "c": "vit.encoder.layer.1.mlp",
        "d": "classifier",
    }
    assert list(shorten(paths).values()) == ["embeddings.norm", "layer.0.mlp", "layer.1.mlp", "classifier"]
    assert shorten({"a": "stages.0.conv", "b": "head.fc"}) == {"a": "stages.0.conv", "b": "head.fc"}
