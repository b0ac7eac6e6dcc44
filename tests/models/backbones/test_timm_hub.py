"""Backbones from the Hub: loaded for real from a hub on loopback, in processes of their own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import timm
import torch

from models import backbones
from models.backbones import timm_hub
from models.backbones.errors import BackboneUnknown
from tests.support import servers
from tests.support.hub import run_hub
from tests.support.small_backbone import CONFIG, write_backbone
from tools import parameter_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.extended

NAME = "timm/test_resnet.r160_in1k"

LOAD = """
import sys
from models import backbones
from models.backbones.errors import BackboneError
try:
    backbone = backbones.load(sys.argv[1], None)
except BackboneError as error:
    print(type(error).__name__, "|", error)
else:
    print(backbone.architecture, "|", backbone.digest, backbone.preprocessing.input_size, backbone.model_args)
"""
DESCRIBE = """
import sys
from models import backbones
try:
    config = backbones.read_config(sys.argv[1], None)
    device = next(config.build_without_weights().parameters()).device
    print(config.architecture, "|", config.preprocessing.input_size, device)
except backbones.errors.BackboneError as error:
    print(type(error).__name__, "|", error)
"""


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """The folders of the hub: a timm network with 1,000 classes as its tag says, and somebody's own."""
    torch.manual_seed(0)
    from safetensors.torch import save_file

    timms = tmp_path / "hub/timm/test_resnet.r160_in1k"
    timms.mkdir(parents=True)
    save_file(timm.create_model("test_resnet").state_dict(), timms / "model.safetensors")
    (timms / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 1000}))
    write_backbone(tmp_path / "hub/somebody/small")
    return tmp_path / "hub"


@pytest.fixture
def address(repositories: Path) -> Iterator[str]:
    """The address of the hub."""
    with run_hub(repositories) as hub:
        yield hub.url


def load(name: str, home: Path, endpoint: str, script: str = LOAD, **more: str) -> tuple[str, str]:
    """Load a backbone in a process of its own: returns its architecture or the error, and a message."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "OMP_NUM_THREADS": "1",
        **more,
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    what, _, message = run.stdout.strip().partition(" | ")
    return what, message


def test_loads_by_timms_name_and_again_offline(tmp_path: Path, address: str) -> None:
    online = load(NAME, tmp_path, address)
    assert online[0] == "test_resnet"
    assert "(3, 160, 160)" in online[1]
    assert load(NAME, tmp_path, address, HF_HUB_OFFLINE="1") == online


def test_loads_any_repository_in_timms_layout(tmp_path: Path, address: str) -> None:
    what, message = load("hf/somebody/small", tmp_path, address)
    assert what == CONFIG["architecture"]
    assert "(3, 32, 32)" in message


def test_describes_a_repository_without_its_weights(tmp_path: Path, address: str) -> None:
    home = tmp_path / "home"
    what, message = load("hf/somebody/small", home, address, DESCRIBE)
    assert (what, message) == (CONFIG["architecture"], "(3, 32, 32) meta")
    assert list(home.rglob("config.json"))
    assert not list(home.rglob("*.safetensors"))
    assert load("hf/somebody/none", home, address, DESCRIBE)[0] == "BackboneUnknown"


def test_a_pickle_is_never_read(tmp_path: Path, address: str, repositories: Path) -> None:
    folder = repositories / "timm/test_resnet.r160_in1k"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    what, message = load(NAME, tmp_path, address)
    assert what == "WeightsUnsafe"
    assert "Convert them to safetensors" in message


def test_what_is_gated_or_absent_says_what_to_do(tmp_path: Path, address: str, repositories: Path) -> None:
    (repositories / "timm/test_resnet.r160_in1k/gated").touch()
    what, message = load(NAME, tmp_path, address)
    assert (what, "HF_TOKEN" in message) == ("WeightsUnavailable", True)
    shutil.rmtree(repositories / "somebody")
    assert load("hf/somebody/small", tmp_path, address)[0] == "BackboneUnknown"
    assert load("timm/no_such_network.at_all", tmp_path, address)[0] == "BackboneUnknown"


def test_a_hub_that_cannot_be_reached_says_what_to_do(tmp_path: Path) -> None:
    what, message = load(NAME, tmp_path, f"http://127.0.0.1:{servers.free_port()}")
    assert what == "WeightsUnavailable"
    assert "HF_ENDPOINT" in message


def test_a_repository_in_another_layout_says_what_to_do(tmp_path: Path, address: str, repositories: Path) -> None:
    folder = repositories / "somebody/small"
    (folder / "config.json").write_text(json.dumps({"name": "small"}))
    what, message = load("hf/somebody/small", tmp_path, address)
    assert what == "ConfigurationBroken"
    assert "save_for_hf" in message


def test_weights_that_are_cut_off_say_what_to_do(tmp_path: Path, address: str, repositories: Path) -> None:
    weights = repositories / "timm/test_resnet.r160_in1k/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    what, message = load(NAME, tmp_path, address)
    assert (what, "HF_HOME" in message) == ("WeightsBroken", True)


def test_weights_of_another_network_say_so(tmp_path: Path, address: str, repositories: Path) -> None:
    shutil.copy(
        repositories / "somebody/small/model.safetensors", repositories / "timm/test_resnet.r160_in1k/model.safetensors"
    )
    assert load(NAME, tmp_path, address)[0] == "WeightsUnfit"


def test_lists_timms_registry_without_downloading() -> None:
    listed = {listing.name: listing for listing in backbones.list_backbones(None)}
    assert len(listed) > 1500
    small = listed["timm/mobilenetv3_small_100.lamb_in1k"]
    assert (small.source, small.architecture) == ("timm", "mobilenetv3_small_100")
    assert small.parameters == 2542856
    assert small.input_size == (3, 224, 224)
    assert sum(listing.parameters is None for listing in listed.values()) == 0
    assert (small.accuracy, small.multiply_adds) == (0.67636, 56_510_400)
    assert listed["timm/vit_tiny_patch16_224.augreg_in21k"].accuracy is None, "it knows other classes"
    assert sum(listing.accuracy is not None for listing in listed.values()) > 1200
    assert sum(listing.multiply_adds is not None for listing in listed.values()) > 1700
    assert "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k" in listed
    assert "timm/levit_128s.fb_dist_in1k" in listed
    assert not [name for name in listed if "_enc." in name], "encoders take no classifier"


@pytest.mark.parametrize("row", [0, 300, 700, 1000])
def test_the_table_of_parameters_is_timms(row: int) -> None:
    with parameter_counts.TABLE.open() as table:
        rows = list(csv.DictReader(table))
    assert parameter_counts.count(rows[row]["architecture"]) == int(rows[row]["parameters"])


def test_a_network_of_fixed_size_keeps_it() -> None:
    """A network whose size is fixed must be rebuilt at the size of its tag, not of the default one."""
    for name, size in (("vit_base_patch16_224.orig_in21k", 224), ("deit3_base_patch16_384.fb_in1k", 384)):
        assert timm_hub.read_config(f"timm/{name}").model_args == {"img_size": [size, size]}
    assert timm_hub.read_config(NAME).model_args == {}


@pytest.mark.parametrize("name", ["test_resnet.nonsense", "nonsense", "resnet18.a1_in1k.x", "qwen3_vit_88m_enc", ""])
def test_what_timm_does_not_offer_is_refused_by_name(name: str) -> None:
    with pytest.raises(BackboneUnknown, match="source=timm"):
        timm_hub.load(f"timm/{name}", None)
    with pytest.raises(BackboneUnknown, match="source=timm"):
        timm_hub.read_config(f"timm/{name}")


def test_the_list_is_quick() -> None:
    """The service asks for it often; it must not build a network for any of its names."""
    began = time.perf_counter()
    assert len(list(timm_hub.list_backbones())) > 1700
    assert time.perf_counter() - began < 1
