"""A small network as an import gives it, with the runtime of its original file: onnxruntime."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from models.conversion.converted import PreprocessingFacts
from models.importers.reader import ReadNetwork
from models.importers.rendered_images import render_images
from models.networks.graph_network import GraphNetwork

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork

SIDE = 32
MEAN, STD = 0.45, 0.25


class SmallNetwork(nn.Module):
    """Every kind of layer that importers get wrong: padding, epsilon, clamps, depthwise and asymmetric kernels."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12, eps=1e-3)
        self.act = nn.ReLU6()
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.pool = nn.AvgPool2d(3, 2, padding=1)
        self.wide = nn.Conv2d(12, 24, (1, 3), padding=(0, 1))
        self.last = nn.Hardswish()
        self.flat = nn.Flatten()
        self.classifier = nn.Linear(24 * 64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) → (B, classes)."""
        stem = self.act(self.norm(self.stem(images)))
        mixed = self.pool(stem + self.depthwise(stem))
        output: torch.Tensor = self.classifier(self.flat(self.last(self.wide(mixed))))
        return output


def make_network() -> SmallNetwork:
    """Make a network with random weights that tells images apart: BatchNorm has the statistics of images."""
    torch.manual_seed(0)
    network = SmallNetwork()
    network.norm.momentum = None
    with torch.no_grad():
        nn.init.uniform_(network.norm.weight, 1.0, 4.0)
        nn.init.uniform_(network.norm.bias, 0.0, 3.0)
        network.train()(torch.from_numpy(make_images()["rendered"]))
        network.eval()
        network.classifier.weight.mul_(20.0)
    return network.requires_grad_(False)


def make_images(count: int = 8) -> dict[Any, np.ndarray]:
    """Make the images of a comparison, as the network takes them."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 3, SIDE, SIDE))
    pixels = {"random": noise, "rendered": render_images(count, SIDE, SIDE)}
    return {kind: ((values / 255 - MEAN) / STD).astype(np.float32) for kind, values in pixels.items()}


def make_graph(network: nn.Module) -> GraphNetwork:
    """Make a graph of a network, as readers do."""
    traced = fx.symbolic_trace(network)
    return GraphNetwork.from_graph(network, traced.graph, {})


class OnnxOriginal:
    """A network as an ONNX file, run by onnxruntime."""

    name = "onnxruntime"
    is_independent = True

    def __init__(self, network: nn.Module) -> None:
        pytest.importorskip("onnx")
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old exporter needs no onnxscript, and warns of its age
            images = torch.zeros(1, 3, SIDE, SIDE, dtype=next(network.parameters()).dtype)
            torch.onnx.export(
                network, (images,), file, dynamo=False, input_names=["x"], output_names=["y"],
                dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            )  # fmt: skip
        self.data = file.getvalue()
        self.load(self.data)

    def load(self, data: bytes) -> None:
        """Load a file; without optimization, as imports do."""
        onnxruntime = pytest.importorskip("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(data, options)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the file."""
        output: np.ndarray = self._session.run(None, {"x": images})[0]
        return output


def as_read(network: TimmNetwork, original: Any = None, **facts: Any) -> ReadNetwork:
    """Describe a graph as a reader does."""
    facts.setdefault("facts", PreprocessingFacts())
    return ReadNetwork(
        network=network, architecture="graph", route="made by a test", input_size=(3, SIDE, SIDE), original=original,
        **facts,
    )  # fmt: skip
