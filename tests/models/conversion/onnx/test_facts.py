"""Preprocessing that models state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.onnx_models import build_model, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from models.conversion.converted import PreprocessingFacts

END = [node("GlobalAveragePool", "n", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b")]
WEIGHTS = {"w": numbers(3, 5), "b": numbers(5)}


def read(
    folder: Path, *nodes: onnx.NodeProto, constants: dict[str, Any] | None = None, **entries: str
) -> PreprocessingFacts:
    converted = convert_model(build_model([*nodes, *END], {**WEIGHTS, **(constants or {})}, **entries), folder)
    return converted.preprocessing


IMAGENET = {
    "m": np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1),
    "s": np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1),
}


def test_a_network_that_rescales_takes_whole_pixels(tmp_path: Path) -> None:
    facts = read(tmp_path, node("Mul", "x c", "n"), constants={"c": np.float32(1 / 255)})
    assert (facts.mean, facts.std) == ((0.0,) * 3, (1 / 255,) * 3)
    assert "0 to 255" in facts.evidence[0]
    nodes = [node("Div", "x c", "d"), node("Sub", "d one", "n")]
    facts = read(tmp_path, *nodes, constants={"c": np.float32(127.5), "one": np.float32(1)})
    assert facts.std == (1 / 255,) * 3


def test_a_network_that_normalizes_takes_fractions_or_whole_pixels(tmp_path: Path) -> None:
    nodes = [node("Sub", "x m", "d"), node("Div", "d s", "n")]
    facts = read(tmp_path, *nodes, constants=IMAGENET)
    assert (facts.mean, facts.std) == ((0.0,) * 3, (1.0,) * 3)
    facts = read(tmp_path, *nodes, constants={name: 255 * value for name, value in IMAGENET.items()})
    assert facts.std == (1 / 255,) * 3


def test_a_network_that_subtracts_means_takes_whole_pixels(tmp_path: Path) -> None:
    mean = np.float32([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)
    facts = read(tmp_path, node("Sub", "x m", "n"), constants={"m": mean})
    assert facts.std == (1 / 255,) * 3
    assert facts.channel_order == "bgr"
    nodes = [node("Gather", "x flip", "g", axis=1), node("Sub", "g m", "n")]
    facts = read(tmp_path, *nodes, constants={"m": mean, "flip": integers(2, 1, 0)})
    assert facts.channel_order == "rgb", "the network itself puts the channels in reverse order"


@pytest.mark.parametrize("kind", ["Identity", "Relu"])
def test_a_network_that_begins_with_a_layer_states_nothing_but_its_size(kind: str, tmp_path: Path) -> None:
    facts = read(tmp_path, node(kind, "x", "n"))
    assert (facts.mean, facts.std, facts.channel_order) == (None, None, None)
    assert facts.input_size == (3, 8, 8)


def test_metadata_of_images(tmp_path: Path) -> None:
    entries = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
    facts = read(tmp_path, node("Identity", "x", "n"), **entries)
    assert facts.channel_order == "bgr"
    assert facts.std == (1 / 255,) * 3
    assert len(facts.evidence) == 3
