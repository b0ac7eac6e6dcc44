"""Command-line arguments of benchmarks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from benchmarks import material

if TYPE_CHECKING:
    from pathlib import Path


def test_a_local_backbone_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "BACKBONES", tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match="one that is: none"):
        material.parse_backbone("local/small")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").touch()
    assert material.parse_backbone("local/small") == "local/small"
    assert material.parse_backbone("timm/test_resnet.r160_in1k").startswith("timm/")
    with pytest.raises(argparse.ArgumentTypeError, match=r"Choose by BACKBONE=… one that is: local/small\."):
        material.parse_backbone("local/rendered_shapes")
