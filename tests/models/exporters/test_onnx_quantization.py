"""Quantization to 8 bits: ranges by hand, and a network of which 8 bits cannot hold one layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models.exporters import onnx_model
from models.exporters.onnx_quantization import ALLOWED_LOSS, Quantized, compute_expected_loss, fit_range, quantize

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = np.random.default_rng(0).standard_normal((64, 3, 12, 12)).astype(np.float32)


def build(spread: float) -> nn.Sequential:
    """A network whose first activations have channels of two sizes, of which the larger ones say nothing."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, bias=False)
    third, fourth, last = nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 1, bias=False), nn.Linear(512, 4, bias=False)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter[:4].mul_(spread)
        second.weight[:, :4] = 0
        last.weight.mul_(300)
    network = nn.Sequential(
        *(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU()),
        *(fourth, nn.ReLU(), nn.Flatten(), last),
    )
    return network.eval()


def run(network: nn.Module, folder: Path) -> tuple[Quantized, np.ndarray, np.ndarray, int]:
    """Quantize a network; what was chosen, outputs of other images, the expected ones, and the heartbeats."""
    onnx_model.write(network, torch.from_numpy(IMAGES[:2]), folder / "float.onnx", ["a"] * 4, {})
    loss = partial(compute_expected_loss, is_multi_label=False, are_probabilities=False)
    beats: list[None] = []
    found = quantize(
        folder / "float.onnx",
        folder / "int8.onnx",
        (image[None] for image in IMAGES[:24]),
        lambda: iter([IMAGES[24:40], IMAGES[40:48]]),
        loss,
        lambda: beats.append(None),
    )
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGES[48:])).numpy()
    return found, onnx_model.Session(folder / "int8.onnx").run(IMAGES[48:]), expected, len(beats)


def test_all_layers_have_8_bits_where_that_costs_nothing(tmp_path: Path) -> None:
    found, outputs, expected, beats = run(build(1.0), tmp_path)
    assert (found.layers, found.float_layers) == (5, [])
    assert found.expected_loss <= ALLOWED_LOSS
    assert np.abs(outputs - expected).max() < 0.15 * np.abs(expected).max()
    assert beats > 24
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1}
    assert set(weights.values()) == {onnx.TensorProto.INT8}


def test_a_layer_that_8_bits_cannot_hold_stays_in_float32(tmp_path: Path) -> None:
    network = build(1e5)
    found, outputs, expected, _ = run(network, tmp_path)
    assert found.float_layers
    assert len(found.float_layers) < found.layers
    assert set(found.float_layers) & {"0", "2"}
    assert found.expected_loss <= ALLOWED_LOSS
    assert (outputs.argmax(1) == expected.argmax(1)).mean() >= 0.8
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert "QuantizeLinear" in kinds


class Twice(nn.Module):
    """A layer that multiplies twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(0.1 * torch.randn(sides)) for sides in ((800, 8), (8, 4)))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Multiply (B, 800) with two matrices: (B, 4)."""
        return (values @ self.first) @ self.second


def test_layers_are_counted_as_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found, *_ = run(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), Twice()).eval(), tmp_path)
    assert found.layers == 2


def test_a_fitted_range_leaves_out_what_is_rare() -> None:
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    low, high = fit_range(values, -4.0, 40.0)
    assert -4 <= low < -2.8
    assert 2.8 < high <= 4, "40 was seen once"
    values = np.linspace(0, 6, 10_000, dtype=np.float32)
    assert fit_range(values, 0.0, 6.0) == pytest.approx((0, 6))
    assert fit_range(values + 1, 1.0, 7.0)[0] == 0, "it always holds 0"
    assert fit_range(np.zeros(5, np.float32), 0.0, 0.0) == (0, 0)


def test_the_expected_loss_is_what_other_answers_are_less_probable() -> None:
    expected = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]))
    same, other = expected * 2, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    loss = partial(compute_expected_loss, is_multi_label=False, are_probabilities=False)
    assert loss(same, expected) == 0
    assert loss(other, expected) == pytest.approx((0 + 0.1) / 2)
    given = partial(compute_expected_loss, is_multi_label=False, are_probabilities=True)
    assert given(other, np.exp(expected)) == pytest.approx(0.05)
    labels = partial(compute_expected_loss, is_multi_label=True, are_probabilities=True)
    assert labels(np.array([[0.4, 0.9]]), np.array([[0.8, 0.9]])) == pytest.approx(0.6 / 2)
    logits = partial(compute_expected_loss, is_multi_label=True, are_probabilities=False)
    assert logits(np.array([[-1.0, 1.0]]), np.log(np.array([[4.0, 9.0]]))) == pytest.approx(0.6 / 2)
