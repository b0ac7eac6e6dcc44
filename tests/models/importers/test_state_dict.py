"""Weights into a named architecture: the same outputs as the network that saved them, or an error that says why not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from models.importers import state_dict
from models.importers.errors import ImportRejected
from models.importers.request import ImportRequest
from tests.support.networks import given, network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.importers.reader import ReadNetwork

SIDE = (3, 64, 64)


def read(file: Path, architecture: str | None) -> ReadNetwork:
    """Read a file of weights."""
    return state_dict.read(ImportRequest(file=file, folder=file.parent, architecture=architecture))


def assert_equal(found: ReadNetwork, expected: Any, size: tuple[int, int, int] = SIDE) -> None:
    """Compare the outputs of two networks to the bit."""
    images = given(size, count=3)
    assert torch.equal(found.network.eval()(images), expected.eval()(images))


def small(num_classes: int = 5) -> Any:
    """Create a small network of timm."""
    return network("test_resnet", num_classes=num_classes)


WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plain": lambda state: state,
    "timm": lambda state: {
        "epoch": 3,
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1),
        "optimizer": {"state": {}},
    },
    "torchvision": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(1)}}}},
    "lightning": lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "half": lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
    "old": lambda state: {name: value for name, value in state.items() if "num_batches_tracked" not in name},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_read_in_every_form_that_training_scripts_save(tmp_path: Path, form: str, legacy: bool) -> None:
    whole = small()
    if form == "half":
        whole = whole.half().float()
    torch.save(WRAPPED[form](whole.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    found = read(tmp_path / "a.pth", "test_resnet")
    assert_equal(found, whole)
    assert (found.architecture, found.network.num_classes) == ("test_resnet", 5)
    assert {parameter.dtype for parameter in found.network.parameters()} == {torch.float32}


def test_averaged_weights_come_before_the_last_ones_and_the_report_says_so(tmp_path: Path) -> None:
    whole, last = small(), small()
    nn.init.zeros_(last.fc.weight)
    torch.save({"state_dict": last.state_dict(), "state_dict_ema": whole.state_dict()}, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth", "timm/test_resnet")
    assert_equal(found, whole)
    assert any("state_dict_ema; the file has state_dict too" in note for note in found.notes)


def test_safetensors_without_a_classifier_give_a_backbone_without_one(tmp_path: Path) -> None:
    whole = small(0)
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    found = read(tmp_path / "a.safetensors", "test_resnet")
    assert_equal(found, whole)
    assert found.network.num_classes == 0
    assert any("no classifier" in note for note in found.notes)


def test_a_head_of_pretraining_beside_the_backbone_is_left_and_said_so(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in small(0).state_dict().items()}
    torch.save({"teacher": {**state, "head.mlp.0.weight": torch.zeros(3, 3)}}, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth", "test_resnet")
    assert (found.left, found.network.num_classes) == (["head.mlp.0.weight"], 0)


@pytest.mark.parametrize(("name", "arguments"), [("squeezenet1_1", {}), ("resnet18", {}), ("mnasnet0_5", {})])
def test_weights_of_torchvision_are_placed_in_its_networks(tmp_path: Path, name: str, arguments: Any) -> None:
    torch.manual_seed(0)
    whole = models.get_model(name, num_classes=7, **arguments)
    torch.save({"model": whole.state_dict()}, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth", f"torchvision/{name}")
    assert (found.architecture, found.network.num_classes) == (f"torchvision/{name}", 7)
    if name != "squeezenet1_1":  # a ReLU after its classifier is left out
        assert_equal(found, whole)


def test_the_size_of_a_transformers_images_is_seen_from_its_positions(tmp_path: Path) -> None:
    whole = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=3)
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    found = read(tmp_path / "a.safetensors", "vit_tiny_patch16_224")
    assert (found.input_size, found.model_args) == ((3, 96, 96), {"img_size": [96, 96]})
    assert_equal(found, whole, (3, 96, 96))


def test_weights_that_do_not_fit_are_explained_with_the_architecture_that_has_them(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18", num_classes=2).state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(
        ImportRejected, match=r"do not fit resnet34: \d+ missing, such as layer.*resnet18.*name it"
    ) as no:
        read(tmp_path / "a.safetensors", "resnet34")
    assert no.value.code == "weights_unfit"
    changed = small().state_dict()
    changed["conv1.0.weight"] = torch.zeros(3, 3, 1, 1)
    save_file(
        {name: value for name, value in changed.items() if name != "layer1.0.conv1.weight"}, tmp_path / "a.safetensors"
    )
    with pytest.raises(
        ImportRejected, match=r"1 missing, such as layer1\.0\.conv1\.weight; 1 of another shape.*3×3×1×1"
    ):
        read(tmp_path / "a.safetensors", "test_resnet")


def test_the_named_architecture_is_not_proposed_again(tmp_path: Path) -> None:
    """Without its classifier's bias it has the names and shapes of the architecture without a classifier."""
    state = small().state_dict()
    del state["fc.bias"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ImportRejected, match=r"1 missing, such as fc\.bias") as no:
        read(tmp_path / "a.safetensors", "test_resnet")
    assert "test_resnet: name it" not in str(no.value)


def test_an_architecture_is_asked_for_with_those_that_fit(tmp_path: Path) -> None:
    torch.save({"module.x": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ImportRejected, match="None of timm's") as no:
        read(tmp_path / "a.pth", None)
    assert no.value.code == "architecture_needed"
    save_file(timm.create_model("tf_efficientnet_b0").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ImportRejected, match=r"efficientnet_b0, .*tf_efficientnet_b0.*samples"):
        read(tmp_path / "a.safetensors", None)
    found = read(tmp_path / "a.safetensors", "efficientnet_b0")
    assert any("tf_efficientnet_b0" in note and "samples" in note for note in found.notes)


def test_preprocessing_is_known_by_a_tag_and_else_proposed(tmp_path: Path) -> None:
    save_file(network("test_resnet").state_dict(), tmp_path / "a.safetensors")
    bare, tagged = (read(tmp_path / "a.safetensors", name) for name in ("test_resnet", "test_resnet.r160_in1k"))
    assert (bare.facts.mean, bare.licence) == (None, None)
    assert bare.proposed == tagged.facts
    assert tagged.licence == "apache-2.0"


@pytest.mark.parametrize(
    "name", ["resnet_18", "torchvision/resnet19", "test_resnet.none", "torchvision/resnet18.V9", ""]
)
def test_an_unknown_architecture_is_refused_with_what_is_near(tmp_path: Path, name: str) -> None:
    save_file(small().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ImportRejected, match=r"near it|it has|There is no architecture") as no:
        read(tmp_path / "a.safetensors", name)
    assert no.value.code == "architecture_unknown"
