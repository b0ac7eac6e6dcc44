"""Backbones from the folders of their files: uploaded ones, and checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import backbones
from models.backbones import imported
from models.backbones.errors import BackboneTooLarge, ConfigurationBroken, WeightsBroken, WeightsUnfit
from models.networks.graph_network import GraphNetwork
from models.networks.image_sizes import InputSizeUnsupported
from tests.support.networks import given
from tests.support.small_backbone import write_backbone, write_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@torch.no_grad()
def test_a_folder_with_a_graph_gives_the_network_that_it_was_made_of(tmp_path: Path) -> None:
    write_backbone(tmp_path / "local" / "small")
    graph = backbones.load("bb_1", None, None, write_graph(tmp_path / "graph"))
    own = backbones.load("local/small", tmp_path / "local")
    assert isinstance(graph.network, GraphNetwork)
    assert torch.equal(graph.network(given((3, 32, 32))), own.network(given((3, 32, 32))))
    assert (graph.architecture, graph.preprocessing, graph.licence) == ("graph", own.preprocessing, own.licence)


def test_a_folder_with_weights_of_timm_is_loaded_by_timm(tmp_path: Path) -> None:
    uploaded = backbones.load("bb_1", None, None, write_backbone(tmp_path / "small"))
    assert uploaded.digest == backbones.load("local/small", tmp_path).digest


def test_the_digest_is_of_the_graph_too_and_not_of_the_name(tmp_path: Path) -> None:
    folder = write_graph(tmp_path / "graph")
    digest = imported.load_folder("bb_1", folder).digest
    assert imported.load_folder("bb_2", folder).digest == digest
    graph = json.loads((folder / "graph.json").read_text())
    graph["modules"]["bn1"][1]["eps"] = 0.001
    (folder / "graph.json").write_text(json.dumps(graph))
    assert imported.load_folder("bb_1", folder).digest != digest


@pytest.mark.parametrize("side", [48, 64])
def test_a_graph_takes_images_of_another_size_where_its_operations_do(side: int, tmp_path: Path) -> None:
    backbone = backbones.load("bb_1", None, side, write_graph(tmp_path / "graph"))
    assert backbone.preprocessing.input_size == (3, side, side)
    assert backbone.own_size == (3, 32, 32)


@pytest.mark.parametrize("shape", [[-1, 96], [-1, 1, 96]], ids=["mixes the images", "does not"])
def test_a_graph_whose_numbers_fit_one_size_is_refused_for_others(shape: list[int], tmp_path: Path) -> None:
    folder = write_graph(tmp_path / "graph")
    graph = json.loads((folder / "graph.json").read_text())
    pool, reshape = graph["nodes"][-4:-2]
    assert pool["path"].startswith("global_pool")
    pool.update(op="call_function", target="torch.nn.functional.avg_pool2d", args=[pool["args"][0], 1])
    reshape.update(op="call_function", target="torch.reshape", args=[{"node": pool["name"]}, shape])
    (folder / "graph.json").write_text(json.dumps(graph))
    imported.load_folder("bb_1", folder)
    with pytest.raises(InputSizeUnsupported, match=r"bb_1 takes images of 32x32 pixels alone.*image_size out"):
        imported.load_folder("bb_1", folder, 64)


def test_a_graph_that_would_not_see_the_border_of_larger_images_is_refused_for_them(tmp_path: Path) -> None:
    folder = write_graph(tmp_path / "graph")
    graph = json.loads((folder / "graph.json").read_text())
    first = graph["nodes"][1]
    cropped = {"name": "cropped", "op": "call_function", "target": "torch.Tensor.narrow", "kwargs": {}, "path": "crop"}
    for at, axis, given_to in ((1, 2, "x"), (2, 3, "cropped")):
        args = [{"node": graph["nodes"][0]["name"] if given_to == "x" else given_to}, axis, 0, 32]
        graph["nodes"].insert(at, {**cropped, "name": f"cropped{'' if at == 1 else '_1'}", "args": args})
    first["args"] = [{"node": "cropped_1"}]
    (folder / "graph.json").write_text(json.dumps(graph))
    imported.load_folder("bb_1", folder)
    with pytest.raises(InputSizeUnsupported, match="32x32 pixels alone"):
        imported.load_folder("bb_1", folder, 64)


def test_a_graph_whose_outputs_are_alike_for_all_images_takes_other_sizes_too(tmp_path: Path) -> None:
    folder = write_graph(tmp_path / "graph")
    state = load_file(folder / "model.safetensors")
    save_file({**state, "fc.weight": torch.zeros_like(state["fc.weight"])}, folder / "model.safetensors")
    assert imported.load_folder("bb_1", folder, 64).own_size == (3, 32, 32)


def _break_json(folder: Path) -> None:
    (folder / "graph.json").write_text("{")


def _break_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _break_preprocessing(folder: Path) -> None:
    (folder / "config.json").write_text('{"architecture": "graph", "pretrained_cfg": {"mean": "white"}}')


def _lose_a_weight(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop("fc.bias")
    save_file(state, folder / "model.safetensors")


def _cut_off_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_break_json, ConfigurationBroken, r"graph\.json of bb_1 cannot be used"),
        (lambda folder: (folder / "graph.json").unlink(), ConfigurationBroken, r"graph\.json of bb_1"),
        (_break_config, ConfigurationBroken, r"config\.json of bb_1"),
        (_break_preprocessing, ConfigurationBroken, r"config\.json of bb_1 is not in timm's format"),
        (_lose_a_weight, WeightsUnfit, r"lack fc\.bias"),
        (_cut_off_weights, WeightsBroken, "truncated"),
    ],
)
def test_a_damaged_folder_is_refused_by_what_is_wrong(
    change: Callable[[Path], object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    folder = write_graph(tmp_path / "graph")
    change(folder)
    with pytest.raises(error, match=words):
        imported.load_folder("bb_1", folder)


def test_a_graph_that_is_larger_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.backbones.config.get_memory_bytes", lambda: 100_000)
    with pytest.raises(BackboneTooLarge, match="bb_1 needs about"):
        imported.load_folder("bb_1", write_graph(tmp_path / "graph"))
