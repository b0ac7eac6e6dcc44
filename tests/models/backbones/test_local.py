"""Local backbones: folders in Hub layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import timm
import torch

from models import backbones
from models.backbones.errors import BackboneUnknown, WeightsUnfit, WeightsUnsafe
from tests.models.backbones.small_backbone import write_backbone

if TYPE_CHECKING:
    from pathlib import Path


def test_loads_the_weights_and_the_preprocessing_of_its_folder(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    backbone = backbones.load("local/small", tmp_path)
    expected = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    given = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(backbone.network(given), expected(given))
    assert backbone.architecture == "test_resnet"
    assert backbone.model_args == {"in_chans": 3}
    assert backbone.licence == "cc0-1.0"
    assert backbone.preprocessing.input_size == (3, 32, 32)
    assert backbone.preprocessing.std == (0.25, 0.25, 0.25)
    assert str(tmp_path) not in json.dumps(backbone.pretrained_cfg), "it says nothing of this machine"
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_the_digest_changes_with_any_weight(tmp_path: Path) -> None:
    write_backbone(tmp_path / "small")
    first, second = backbones.load("local/small", tmp_path), backbones.load("local/small", tmp_path)
    with torch.no_grad():
        second.network.fc.bias[0] += 1e-3
    assert first.digest == backbones.load("local/small", tmp_path).digest != second.digest


def test_is_listed_with_its_facts(tmp_path: Path) -> None:
    write_backbone(tmp_path / "small")
    (tmp_path / "no_backbone").mkdir()
    listed = [listing for listing in backbones.listings(tmp_path) if listing.source == "local"]
    assert [listing.name for listing in listed] == ["local/small"]
    network = timm.create_model("test_resnet", num_classes=10)
    assert listed[0].parameters == sum(parameter.numel() for parameter in network.parameters())


def test_a_folder_that_cannot_be_read_is_left_out_of_the_list(tmp_path: Path) -> None:
    write_backbone(tmp_path / "good")
    (write_backbone(tmp_path / "bad_config") / "config.json").write_text("{")
    (write_backbone(tmp_path / "bad_weights") / "model.safetensors").write_bytes(b"\x09" + b"\0" * 7 + b"no header")
    listed = [listing.name for listing in backbones.listings(tmp_path) if listing.source == "local"]
    assert listed == ["local/good"]


@pytest.mark.parametrize("name", ["local/none", "local/../small", "local/a/b", "local/", "elsewhere/x"])
def test_names_of_nothing_and_ways_out_are_refused(tmp_path: Path, name: str) -> None:
    write_backbone(tmp_path / "small")
    (tmp_path / "inside").mkdir()
    with pytest.raises(BackboneUnknown):
        backbones.load(name, tmp_path / "inside")


def test_without_a_directory_it_says_which_setting(tmp_path: Path) -> None:
    with pytest.raises(BackboneUnknown, match="GRAFT_BACKBONES"):
        backbones.load("local/small", None)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsUnsafe, match="run code"):
        backbones.load("local/small", tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "test_vit"}))
    with pytest.raises(WeightsUnfit, match="test_vit"):
        backbones.load("local/small", tmp_path)


def test_the_outline_has_no_weights(tmp_path: Path) -> None:
    write_backbone(tmp_path / "small")
    network, input_size = backbones.outline("local/small", tmp_path)
    assert input_size == (3, 32, 32)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
