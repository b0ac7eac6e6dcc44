"""Quantized and half-precision originals: right networks agree within what their bits explain, wrong ones do not."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.importers.errors import ImportRejected
from models.importers.numeric_check import check_numbers
from models.importers.quantized_check import correlate
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.imported_networks import OnnxOriginal, as_read, make_graph, make_images, make_network

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 48


class QuantizedOriginal(OnnxOriginal):
    """A network whose weights and activations onnxruntime has quantized to 8 bits."""

    name = "onnxruntime, quantized"

    def __init__(self, network: nn.Module, folder: Path) -> None:
        super().__init__(network)
        quantization = pytest.importorskip("onnxruntime.quantization")
        (folder / "float.onnx").write_bytes(self.data)
        quantization.quantize_static(
            folder / "float.onnx", folder / "quantized.onnx", _Calibration(), per_channel=True, extra_options={}
        )
        self.load((folder / "quantized.onnx").read_bytes())


class _Calibration:
    def __init__(self) -> None:
        self.images = iter(make_images(COUNT)["rendered"])

    def get_next(self) -> Any:
        image = next(self.images, None)
        return None if image is None else {"x": image[None]}

    def set_range(self, *_: int) -> None:
        """All images are used at once."""


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> QuantizedOriginal:
    return QuantizedOriginal(make_network(), tmp_path_factory.mktemp("quantized"))


def flip_channels(network: Any) -> None:
    network.stem.weight.copy_(network.stem.weight.flip(1))


def transpose_kernel(network: Any) -> None:
    network.stem.weight.copy_(network.stem.weight.transpose(2, 3).clone())


def scale_layer(network: Any) -> None:
    network.wide.weight.mul_(1.5)


WRONG = {"BGR": flip_channels, "a transposed kernel": transpose_kernel, "a scale of 1.5": scale_layer}


def test_the_right_network_agrees(quantized: QuantizedOriginal) -> None:
    read = as_read(make_graph(make_network()), quantized, is_quantized=True)
    check = check_numbers(read, make_images(COUNT), no_heartbeat)
    assert check.verdict == "verified", check.message
    assert {one.bits for one in check.quantized} == {8}
    rendered = [one for one in check.quantized if one.images == "rendered"]
    assert all(one.difference < one.bound and one.correlation > 0.9 for one in rendered)


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_networks_are_rejected(mistake: str, quantized: QuantizedOriginal) -> None:
    wrong = copy.deepcopy(make_network())
    with torch.no_grad():
        WRONG[mistake](wrong)
    with pytest.raises(ImportRejected) as caught:
        check_numbers(as_read(make_graph(wrong), quantized, is_quantized=True), make_images(COUNT), no_heartbeat)
    assert caught.value.code == "conversion_differs"
    assert caught.value.numeric is not None
    assert caught.value.numeric.quantized


class HalfOriginal(OnnxOriginal):
    """A network in float16, as exporters for phones write it."""

    name = "onnxruntime, float16"

    def __init__(self, network: nn.Module) -> None:
        super().__init__(copy.deepcopy(network).half())

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the file."""
        return super().run(images.astype(np.float16)).astype(np.float32)


def test_originals_of_float16_may_round_as_such() -> None:
    network = make_network()
    network.load_state_dict({name: tensor.half().to(tensor.dtype) for name, tensor in network.state_dict().items()})
    original = HalfOriginal(network)
    check = check_numbers(as_read(make_graph(network), original), make_images(), no_heartbeat)
    assert check.verdict == "verified", check.message
    assert {one.bits for one in check.quantized} == {16}
    with torch.no_grad():
        network.norm.eps = 1e-1
    with pytest.raises(ImportRejected):
        check_numbers(as_read(make_graph(network), original), make_images(), no_heartbeat)


def test_the_correlation_is_that_of_outputs_over_images() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=(20, 3)) + np.array([0.0, 100.0, 200.0])
    assert correlate(first, first * 2.0 + 5.0) == pytest.approx(1.0)
    assert abs(correlate(first, random.normal(size=(20, 3)))) < 0.5
    assert correlate(first, np.ones((20, 3))) == 0.0
