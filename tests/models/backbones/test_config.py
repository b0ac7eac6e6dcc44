"""Configurations of backbones: sizes that are not their own, against plain timm; requests that no network fulfils."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models import get_pretrained_cfg

from models import backbones
from models.backbones.errors import BackboneError, BackboneTooLarge, ConfigurationBroken, WeightsUnfit
from models.networks.feature_network import ConcatenateVectors, cut_before_classifier
from models.networks.image_sizes import InputSizeUnsupported
from tests.support.networks import given, network

if TYPE_CHECKING:
    from pathlib import Path

    from models.backbones.backbone import Backbone


def write_folder(folder: Path, name: str, side: int, **arguments: Any) -> Path:
    """Write a network of timm with random weights, for images of this side, as a local backbone."""
    sized = {"img_size": side} if get_pretrained_cfg(name).fixed_input_size else {}
    whole = network(name, **sized, **arguments)
    folder.mkdir(parents=True)
    save_file({key: value.clone() for key, value in whole.state_dict().items()}, folder / "model.safetensors")
    cfg = {**get_pretrained_cfg(name).to_dict(remove_source=True), "input_size": [3, side, side]}
    config = {"architecture": name, "pretrained_cfg": cfg, "model_args": {**sized, **arguments}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_as_timm_resizes(backbone: Backbone, folder: Path) -> None:
    """The network is timm's at this size; its parts give the same to the bit; plain timm rebuilds it."""
    size = backbone.preprocessing.input_size
    sized = {"img_size": size[1:]} if "img_size" in backbone.model_args else {}
    expected = timm.create_model(f"local-dir:{folder}", pretrained=True, **sized).eval()
    images = given(size)
    features = cut_before_classifier(backbone.network, size, {})
    with torch.inference_mode():
        assert torch.equal(backbone.network(images), expected(images))
        whole, joined = features.trunk(images), ConcatenateVectors()
        for cut in list(features.tail.cuts)[:: max(1, len(features.tail.cuts) // 8)]:
            trunk, top = features.tail.build_parts(cut)
            assert torch.equal(joined(top(trunk(images))), whole), cut
    again = timm.create_model(backbone.architecture, num_classes=backbone.network.num_classes, **backbone.model_args)
    again.load_state_dict(backbone.network.state_dict())


RESIZED = [
    # absolute positions, interpolated
    ("vit_tiny_patch16_224", {"depth": 2, "embed_dim": 48}, 32, 64),
    ("deit_tiny_distilled_patch16_224", {"depth": 1, "embed_dim": 48}, 32, 48),
    ("vit_small_patch14_dinov2", {"depth": 1, "embed_dim": 48, "num_heads": 2}, 28, 56),
    # relative positions, interpolated
    ("beit_base_patch16_224", {"depth": 1, "embed_dim": 48, "num_heads": 2}, 32, 64),
    ("vit_srelpos_small_patch16_224", {"depth": 1, "embed_dim": 48, "num_heads": 2}, 32, 64),
    (
        "swin_tiny_patch4_window7_224",
        {"depths": [1, 1], "embed_dim": 24, "num_heads": [2, 2], "window_size": 4},
        64,
        96,
    ),
    ("swinv2_tiny_window8_256", {"depths": [1, 1], "embed_dim": 24, "num_heads": [2, 2]}, 64, 96),
    # rotary positions, of any size
    ("eva02_tiny_patch14_224", {"depth": 1, "embed_dim": 48, "num_heads": 2}, 28, 56),
    ("vit_small_patch16_dinov3", {"depth": 1, "embed_dim": 48, "num_heads": 2}, 32, 64),
    # no positions
    ("test_resnet", {}, 32, 50),
    ("xcit_nano_12_p8_224", {"depth": 1}, 32, 48),
]
"""Name, arguments, the side of the network's own images, and another."""
RESIZED_SLOWLY: list[tuple[str, dict[str, Any], int, int]] = [
    ("test_maxvit", {}, 160, 224),
    ("twins_svt_small", {"depths": [1, 1, 1, 1]}, 64, 96),
]


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple sequence")  # timm's interpolation
@pytest.mark.parametrize(
    ("name", "arguments", "own", "side"),
    [*RESIZED, *(pytest.param(*row, marks=pytest.mark.slow) for row in RESIZED_SLOWLY)],
    ids=[row[0] for row in (*RESIZED, *RESIZED_SLOWLY)],
)
def test_a_network_of_each_kind_is_resized_as_timm_resizes_it(
    tmp_path: Path, name: str, arguments: dict[str, Any], own: int, side: int
) -> None:
    folder = write_folder(tmp_path / "small", name, own, **arguments)
    backbone = backbones.load("local/small", tmp_path, side)
    assert backbone.preprocessing.input_size == (3, side, side)
    assert (backbone.own_size, backbone.pretrained_cfg["input_size"]) == ((3, own, own), [3, side, side])
    assert_as_timm_resizes(backbone, folder)


def test_positions_are_interpolated_and_all_other_weights_kept(tmp_path: Path) -> None:
    write_folder(tmp_path / "small", "vit_tiny_patch16_224", 32, depth=1, embed_dim=48)
    own, resized = (backbones.load("local/small", tmp_path, side).network.state_dict() for side in (None, 64))
    expected = resample_abs_pos_embed(own["pos_embed"], (4, 4), num_prefix_tokens=1)
    torch.testing.assert_close(resized["pos_embed"], expected)
    assert all(torch.equal(own[name], resized[name]) for name in own if name != "pos_embed")


def test_each_size_has_a_digest_of_its_own_where_weights_differ(tmp_path: Path) -> None:
    for name, arguments, same in (
        ("vit_tiny_patch16_224", {"depth": 1, "embed_dim": 48}, False),
        ("test_resnet", {}, True),
    ):
        write_folder(tmp_path / name, name, 32, **arguments)
        own, sized, other = (backbones.load(f"local/{name}", tmp_path, side) for side in (None, 32, 64))
        assert own.digest == sized.digest
        assert (own.digest == other.digest) is same


@pytest.mark.parametrize(
    ("name", "arguments", "own", "side", "words"),
    [
        ("vit_tiny_patch16_224", {"depth": 1, "embed_dim": 48}, 32, 40, "32 or 48"),
        ("xcit_nano_12_p8_224", {"depth": 1}, 32, 45, "40 or 48"),
        ("twins_svt_small", {"depths": [1, 1, 1, 1]}, 64, 70, "64 or 96"),
        ("cait_xxs24_224", {"depth": 1}, 32, 64, "interpolate.*to 32"),
        ("pit_ti_224", {"depth": [1, 1, 1]}, 64, 96, "interpolate"),
        ("tnt_s_legacy_patch16_224", {"depth": 1}, 64, 70, "border.*64 or 96"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_refused_with_those_that_it_takes(
    tmp_path: Path, name: str, arguments: dict[str, Any], own: int, side: int, words: str
) -> None:
    write_folder(tmp_path / "small", name, own, **arguments)
    with pytest.raises(InputSizeUnsupported, match=rf"local/small .*{side}x{side} .*{words}"):
        backbones.load("local/small", tmp_path, side)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"depth": 10**9}, ConfigurationBroken, "memory|layers"),
        ({"depth": 30_000}, ConfigurationBroken, "layers"),
        ({"depth": 600}, WeightsUnfit, "parameters"),
        ({"embed_dim": 3 * 10**7}, ConfigurationBroken, "parameters|memory"),
        ({"embed_dim": 10**30}, ConfigurationBroken, "model_args"),
        ({"img_size": 10**6}, ConfigurationBroken, "16 to 2048 pixels"),
        ({"img_size": -5}, ConfigurationBroken, "16 to 2048 pixels"),
        ({"num_classes": 10**9}, ConfigurationBroken, "parameters"),
        ({"num_classes": -3}, ConfigurationBroken, "num_classes"),
        ({"num_heads": 10**9}, ConfigurationBroken, "model_args"),
        ({"num_heads": 0}, ConfigurationBroken, "model_args"),
        ({"patch_size": 0}, ConfigurationBroken, "model_args"),
        ({"depth": "12"}, ConfigurationBroken, "model_args"),
        ({"depth": [[[1]]]}, ConfigurationBroken, "model_args"),
        ({"norm_layer": {"a": []}}, ConfigurationBroken, "model_args"),
        ({"no_such_argument": 1}, ConfigurationBroken, "no_such_argument"),
        ({"in_chans": 1}, ConfigurationBroken, "three channels"),
        ({"checkpoint_path": "weights.pth"}, ConfigurationBroken, "checkpoint_path"),
        ({"pretrained": True}, ConfigurationBroken, "pretrained"),
        ({"features_only": True}, ConfigurationBroken, "features_only"),
        ([], ConfigurationBroken, "timm's format"),
        ("depth", ConfigurationBroken, "timm's format"),
    ],
    ids=str,
)
def test_arguments_that_ask_for_too_much_or_nonsense_are_refused_by_name(
    tmp_path: Path, arguments: Any, error: type[BackboneError], words: str
) -> None:
    small = {"embed_dim": 48, "depth": 1}
    folder = write_folder(tmp_path / "vit", "vit_tiny_patch16_224", 32, **small)
    wanted = {"img_size": 32, **small, **arguments} if isinstance(arguments, dict) else arguments
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_args": wanted}))
    with pytest.raises(error, match=words):
        backbones.load("local/vit", tmp_path)


def test_a_network_larger_than_the_memory_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "small", "test_resnet", 32)
    monkeypatch.setattr("models.backbones.config.get_memory_bytes", lambda: 100_000)
    with pytest.raises(BackboneTooLarge, match="GB of memory"):
        backbones.load("local/small", tmp_path)
