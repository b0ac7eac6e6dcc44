"""Folders of timm: the same network as timm loads, with what the configuration states and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from models.importers import timm_folder
from models.importers.errors import ImportRejected
from models.importers.request import ImportRequest
from tests.support.networks import given, network

if TYPE_CHECKING:
    from pathlib import Path

    from models.importers.reader import ReadNetwork


def write(folder: Path, weights: str = "model.safetensors", **config: Any) -> Any:
    """Write the folder of a small network, and return the network."""
    whole = network("test_resnet", num_classes=3)
    folder.mkdir(exist_ok=True)
    if weights.endswith(".safetensors"):
        save_file(whole.state_dict(), folder / weights)
    else:
        torch.save(whole.state_dict(), folder / weights)
    content = {"architecture": "test_resnet", "num_classes": 3, **config}
    (folder / "config.json").write_text(json.dumps(content))
    return whole


def read(folder: Path) -> ReadNetwork:
    """Read a folder."""
    return timm_folder.read(ImportRequest(file=folder, folder=folder.parent))


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "best.pth"])
def test_the_network_is_timms_own(tmp_path: Path, weights: str) -> None:
    cfg = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "license": "mit", "num_classes": 3}
    whole = write(tmp_path / "net", weights, pretrained_cfg={**cfg, "label_names": ["a", "b", "c"]})
    found = read(tmp_path / "net")
    images = given((3, 64, 64))
    assert torch.equal(found.network.eval()(images), whole(images))
    if weights != "best.pth":
        loaded = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
        assert torch.equal(found.network(images), loaded(images))
    assert (found.labels, found.licence, found.input_size) == (["a", "b", "c"], "mit", (3, 64, 64))
    assert (found.facts.mean, found.facts.interpolation) == ((0.1, 0.2, 0.3), None)


def test_what_the_configuration_does_not_state_is_no_fact(tmp_path: Path) -> None:
    write(tmp_path / "net")
    found = read(tmp_path / "net")
    assert (found.facts.mean, found.facts.std, found.facts.input_size) == (None, None, None)
    assert found.proposed is not None


def test_contradictions_and_missing_weights_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "net", num_classes=4)
    with pytest.raises(ImportRejected, match=r"says 4 classes.*classifier of 3"):
        read(tmp_path / "net")
    (tmp_path / "net/model.safetensors").unlink()
    with pytest.raises(ImportRejected, match="none where one file of weights belongs"):
        read(tmp_path / "net")
