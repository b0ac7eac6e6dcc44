"""A local backbone that the tests make: a small timm network with random weights in Hub layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import timm
import torch
from safetensors.torch import load_file, save_file

from models.networks.graph_file import describe
from tests.support.graphs import from_network

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 10,
    "model_args": {"in_chans": 3, "num_classes": 10},
    "pretrained_cfg": {
        "tag": "random",
        "input_size": [3, 32, 32],
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "num_classes": 10,
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "cc0-1.0",
    },
}


def write_backbone(folder: Path, architecture: str = "test_resnet") -> Path:
    """Write the backbone, a ResNet of timm's, into `folder`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    network = timm.create_model(architecture, num_classes=10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "architecture": architecture}))
    return folder


def write_graph(folder: Path) -> Path:
    """Write the same backbone as a graph of plain torch, as importers of other formats do, into `folder`."""
    write_backbone(folder)
    network = timm.create_model("test_resnet", num_classes=10)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    graph = from_network(network.eval(), (3, 32, 32))
    save_file(graph.state_dict(), folder / "model.safetensors")
    (folder / "graph.json").write_text(json.dumps(describe(graph)))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "architecture": "graph", "model_args": {}}))
    return folder
