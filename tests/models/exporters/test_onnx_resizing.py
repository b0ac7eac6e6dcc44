"""Resizing inside of ONNX models: the same bytes as Pillow's, for images of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from models.exporters import onnx_model, onnx_resizing
from models.exporters.errors import NetworkUnsupported
from models.images.preprocessing import Preprocessing
from models.images.views import Views

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = [(306, 408), (408, 306), (64, 64), (63, 65), (100, 37), (17, 300), (300, 17), (1, 50), (3, 2)]
"""Heights and widths: larger and smaller than the network's, and so tall that Pillow resizes the heights first."""


def build(mode: str, pct: float, interpolation: str = "bicubic", size: tuple[int, int] = (64, 64)) -> Preprocessing:
    """Preprocessing of this crop mode, share that is kept, interpolation and size."""
    return Preprocessing((3, *size), interpolation, (0.485, 0.456, 0.406), (0.2, 0.2, 0.2), pct, mode)


def draw(shape: tuple[int, int]) -> Image.Image:
    """An image of edges and noise."""
    random = np.random.default_rng(shape)
    pixels = random.integers(0, 256, (*shape, 3), np.uint8)
    pixels[: shape[0] // 2] = 255 * (pixels[: shape[0] // 2] > 128)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "pct"), [((64, 64), 0.875), ((64, 64), 1.0), ((48, 80), 0.9), ((64, 64), 1.3)])
def test_pixels_are_those_of_timm_and_pillow(size: tuple[int, int], pct: float, mode: str, interpolation: str) -> None:
    preprocessing = build(mode, pct, interpolation, size)
    model = onnx_resizing.build(preprocessing, onnx_model.OPSET)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    views = Views(preprocessing, (), exact=True)
    for shape in SHAPES:
        image = draw(shape)
        (found,) = session.run(None, {"images": np.asarray(image)[None]})
        np.testing.assert_array_equal(found[0].transpose(2, 0, 1), views.render(image, b"", 0), str(shape))


def test_a_batch_goes_through_a_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocessing = build("center", 0.875)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7, 4), torch.nn.Flatten(), torch.nn.Linear(900, 3))
    whole = onnx_model.Deployed(network, preprocessing, softmax=True, is_multi_label=False).eval()
    example = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    onnx_model.write(whole, example, tmp_path / "own", ["a", "b", "c"], {"job": "job_1"})
    onnx_resizing.prepend(tmp_path / "own", tmp_path / "any", preprocessing, onnx_model.OPSET)
    model = onnx.load(tmp_path / "any")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}["job"] == "job_1"
    images = [draw((90, 120)), draw((90, 120)).rotate(180)]
    found = onnx_model.Session(tmp_path / "any").run(np.stack([np.asarray(image) for image in images]))
    views = Views(preprocessing, (), exact=True)
    pixels = np.stack([views.render(image, b"", 0).transpose(1, 2, 0) for image in images])
    with torch.no_grad():
        np.testing.assert_allclose(found, whole(torch.from_numpy(pixels)).numpy(), rtol=1e-5, atol=1e-6)


def test_filters_that_are_not_written_are_refused() -> None:
    with pytest.raises(NetworkUnsupported, match=r"by lanczos; only bilinear and bicubic .* Leave resize out"):
        onnx_resizing.build(build("center", 0.9, "lanczos"), onnx_model.OPSET)
