"""The header of a safetensors file against the network that it was written from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm

from models.backbones.errors import WeightsBroken
from models.backbones.weights_file import MAX_HEADER_BYTES, count_parameters
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from pathlib import Path


def test_counts_parameters_and_no_statistics(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    network = timm.create_model("test_resnet", num_classes=10)
    counted = count_parameters("local/small", folder / "model.safetensors")
    assert counted == sum(parameter.numel() for parameter in network.parameters())


def test_a_header_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with file.open("wb") as opened:
        opened.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        opened.truncate(2 * MAX_HEADER_BYTES)
    with pytest.raises(WeightsBroken, match=r"local/bad.*header claims"):
        count_parameters("local/bad", file)
