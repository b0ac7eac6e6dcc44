"""Local backbones: folders in Hub layout."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from models import backbones
from models.backbones.backbone import Backbone
from models.backbones.errors import (
    BackboneError,
    BackboneUnknown,
    ConfigurationBroken,
    WeightsBroken,
    WeightsUnfit,
    WeightsUnsafe,
)
from tests.support.small_backbone import CONFIG, write_backbone

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
        second.network.get_classifier().bias[0] += 1e-3
    changed = Backbone.from_network(
        second.name, second.architecture, second.model_args, second.pretrained_cfg, second.network
    )
    assert first.digest == second.digest != changed.digest


def test_is_listed_with_its_facts(tmp_path: Path) -> None:
    write_backbone(tmp_path / "small")
    (tmp_path / "no_backbone").mkdir()
    listed = [listing for listing in backbones.list_backbones(tmp_path) if listing.source == "local"]
    assert [listing.name for listing in listed] == ["local/small"]
    network = timm.create_model("test_resnet", num_classes=10)
    assert listed[0].parameters == sum(parameter.numel() for parameter in network.parameters())


def header(**tensors: object) -> bytes:
    """A safetensors file of a header alone."""
    encoded = json.dumps(tensors).encode()
    return len(encoded).to_bytes(8, "little") + encoded


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    """A tensor as a header describes it."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


DEEP = b"[" * 200_000
BROKEN_FILES = {
    "no JSON": ("config.json", b"{"),
    "a list": ("config.json", b"[]"),
    "no UTF-8": ("config.json", b"\xff"),
    "deep": ("config.json", b'{"architecture":' + DEEP),
    "huge": ("config.json", b" " * (16 << 20) + b"{}"),
    "of transformers": ("config.json", b'{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}'),
    "two sides": ("config.json", b'{"architecture": "test_resnet", "pretrained_cfg": {"input_size": [224, 224]}}'),
    "no cfg": ("config.json", b'{"architecture": "test_resnet", "pretrained_cfg": []}'),
    "listed architecture": ("config.json", b'{"architecture": ["test_resnet"], "pretrained_cfg": {}}'),
    "unknown architecture": ("config.json", b'{"architecture": "no_such_network", "pretrained_cfg": {}}'),
    "no header": ("model.safetensors", b"\x09" + b"\0" * 7 + b"no header"),
    "listed header": ("model.safetensors", b"\x02" + b"\0" * 7 + b"[]"),
    "empty": ("model.safetensors", b""),
    "length of all ones": ("model.safetensors", b"\xff" * 8 + b"{}"),
    "length of a terabyte": ("model.safetensors", (1 << 40).to_bytes(8, "little") + b"{}"),
    "deep header": ("model.safetensors", len(DEEP).to_bytes(8, "little") + DEEP),
    "2^80 parameters": ("model.safetensors", header(a=tensor([2**40, 2**40], 0, 4))),
    "beyond the file": ("model.safetensors", header(a=tensor([1000], 0, 4000))),
    "ends before it begins": ("model.safetensors", header(a=tensor([1], 4, 0)) + b"\0" * 4),
    "overlapping": ("model.safetensors", header(a=tensor([1], 0, 4), b=tensor([1], 0, 4)) + b"\0" * 4),
    "no such type": ("model.safetensors", header(a=tensor([1], 0, 4, "X9")) + b"\0" * 4),
}
"""Contents of files that make a folder no backbone."""


def assert_only_the_good_one_is_described(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """List `folder`: `bad` by its name alone, with a line in the log; whoever asks for it learns why."""
    listed = {listing.name: listing for listing in backbones.list_backbones(folder) if listing.source == "local"}
    assert list(listed) == ["local/bad", "local/good"]
    assert (listed["local/good"].architecture, listed["local/bad"].architecture) == ("test_resnet", None)
    assert "bad cannot be used" in caplog.text
    for ask in (backbones.load, backbones.read_config):
        with pytest.raises(BackboneError, match="local/bad"):
            ask("local/bad", folder)


@pytest.mark.parametrize(("file", "content"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_folder_that_cannot_be_read_is_listed_by_name_alone_and_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, content: bytes
) -> None:
    write_backbone(tmp_path / "good")
    (write_backbone(tmp_path / "bad") / file).write_bytes(content)
    assert_only_the_good_one_is_described(tmp_path, caplog)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "loop", "pipe", "absent"])
def test_what_is_no_file_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, kind: str) -> None:
    write_backbone(tmp_path / "good")
    path = write_backbone(tmp_path / "bad") / file
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
    assert_only_the_good_one_is_described(tmp_path, caplog)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("part", ["", "config.json", "model.safetensors"])
def test_what_may_not_be_read_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str) -> None:
    write_backbone(tmp_path / "good")
    closed = write_backbone(tmp_path / "bad") / part
    closed.chmod(0)
    assert_only_the_good_one_is_described(tmp_path, caplog)
    closed.chmod(0o700)


@pytest.mark.parametrize(
    "facts",
    [
        {"license": ["mit"]},
        {"license": "m\0it"},
        {"license": "\ud800"},
        {"license": "m" * 1000},
        {"mean": [0.5, 0.5, 0.5, 0.5]},
        {"mean": "abc"},
        {"std": [0.0, 0.5, 0.5]},
        {"std": [float("nan"), 0.5, 0.5]},
        {"input_size": [3, 10**9, 10**9]},
        {"input_size": [3, -32, 32]},
        {"input_size": [3, 32.5, 32]},
        {"input_size": 32},
        {"crop_pct": 1e-9},
        {"crop_pct": "1"},
        {"crop_mode": "nonsense"},
        {"interpolation": "nonsense"},
        {"num_classes": -1},
        {"num_classes": "many"},
        {"num_classes": 10**12},
        {"no_such_fact": 1},
    ],
    ids=str,
)
def test_facts_that_no_image_could_be_prepared_by_are_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    folder = write_backbone(tmp_path / "bad")
    cfg: Any = CONFIG["pretrained_cfg"]
    write_config(folder, pretrained_cfg={**cfg, **facts}, model_args={}, num_classes=None)
    with pytest.raises(ConfigurationBroken, match="local/bad"):
        backbones.load("local/bad", tmp_path)


def test_names_that_cannot_be_shown_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_backbone(tmp_path / "good")
    for name in (b"\xff", b"two\nlines", b"n" * 220):
        write_backbone(tmp_path / os.fsdecode(name))
    assert [listing.name for listing in backbones.list_backbones(tmp_path) if listing.source == "local"] == [
        "local/good"
    ]
    assert caplog.text.count("Skipped the backbone in") == 3


def write_config(folder: Path, **facts: object) -> None:
    """Replace facts of a backbone's config.json; None removes one."""
    config = folder / "config.json"
    changed = {**json.loads(config.read_text()), **facts}
    config.write_text(json.dumps({name: fact for name, fact in changed.items() if fact is not None}))


def test_each_fault_has_its_name_and_advice(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(WeightsBroken, match="Copy it again"):
        backbones.load("local/small", tmp_path)
    (folder / "model.safetensors").write_bytes(weights)
    write_config(folder, model_args={"no_such_argument": 1})
    with pytest.raises(ConfigurationBroken, match="model_args"):
        backbones.read_config("local/small", tmp_path).build_without_weights()
    write_config(folder, architecture="no_such_network")
    with pytest.raises(ConfigurationBroken, match="list_models"):
        backbones.load("local/small", tmp_path)
    write_config(folder, architecture="test_resnet", pretrained_cfg={"input_size": [1, 32, 32]})
    with pytest.raises(ConfigurationBroken, match="three channels"):
        backbones.load("local/small", tmp_path)
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigurationBroken, match="save_for_hf"):
        backbones.read_config("local/small", tmp_path).build_without_weights()


def test_the_flat_layout_of_old_is_read(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    flat: Any = CONFIG["pretrained_cfg"]
    (folder / "config.json").write_text(json.dumps({**flat, "architecture": "test_resnet"}))
    assert "local/small" in [listing.name for listing in backbones.list_backbones(tmp_path)]
    assert backbones.load("local/small", tmp_path).preprocessing.input_size == (3, 32, 32)


def write_vit(folder: Path, architecture: str, size: int, **facts: object) -> None:
    """A vision transformer with random weights for images of this size."""
    folder.mkdir()
    network = timm.create_model(architecture, img_size=size, num_classes=3, embed_dim=48, depth=1)
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": architecture, "num_classes": 3, **facts}))


@pytest.mark.parametrize("given", [{}, {"img_size": 96}])
def test_a_network_of_another_size_than_the_architectures_is_rebuilt_by_plain_timm(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    """model_args of the folder win; what they lack is what its pretrained_cfg says of the size."""
    cfg = {"input_size": [3, 96, 96], "fixed_input_size": True, "classifier": "head"}
    arguments = {"embed_dim": 48, "depth": 1, **given}
    write_vit(tmp_path / "vit", "vit_tiny_patch16_224", 96, pretrained_cfg=cfg, model_args=arguments)
    backbone = backbones.load("local/vit", tmp_path)
    assert backbone.model_args == {"img_size": [96, 96], **arguments}
    again = timm.create_model(backbone.architecture, num_classes=3, **backbone.model_args)
    again.load_state_dict(backbone.network.state_dict())
    config = backbones.read_config("local/vit", tmp_path)
    assert config.preprocessing.input_size == (3, 96, 96)
    positions = config.build_without_weights().state_dict()["pos_embed"]
    assert positions.shape == backbone.network.state_dict()["pos_embed"].shape


def test_a_network_that_plain_timm_cannot_rebuild_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    """timm builds this architecture for 384 pixels by default, but here for 224."""
    arguments = {"embed_dim": 48, "depth": 1}
    write_vit(tmp_path / "vit", "vit_tiny_patch16_384", 224, pretrained_cfg={}, model_args=arguments)
    with pytest.raises(ConfigurationBroken, match="img_size"):
        backbones.load("local/vit", tmp_path)


@pytest.mark.parametrize(
    "name", ["local/none", "local/../small", "local/a/b", "local/", "local/.", "local/..", "elsewhere/x"]
)
def test_names_of_nothing_and_ways_out_are_refused(tmp_path: Path, name: str) -> None:
    write_backbone(tmp_path / "outside")
    write_backbone(tmp_path / "outside/inside")
    with pytest.raises(BackboneUnknown):
        backbones.load(name, tmp_path / "outside/inside")


def test_without_a_directory_it_says_which_setting(tmp_path: Path) -> None:
    with pytest.raises(BackboneUnknown, match="GRAFT_BACKBONES"):
        backbones.load("local/small", None)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsUnsafe, match="run code"):
        backbones.load("local/small", tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    write_config(write_backbone(tmp_path / "small"), architecture="test_vit")
    with pytest.raises(WeightsUnfit, match="test_vit"):
        backbones.load("local/small", tmp_path)


def test_the_outline_has_no_weights(tmp_path: Path) -> None:
    write_backbone(tmp_path / "small")
    config = backbones.read_config("local/small", tmp_path)
    assert config.preprocessing.input_size == (3, 32, 32)
    assert {parameter.device.type for parameter in config.build_without_weights().parameters()} == {"meta"}
