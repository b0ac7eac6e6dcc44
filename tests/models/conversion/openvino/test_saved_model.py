"""SavedModels of TensorFlow 2 and 1 give what TensorFlow gave for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.conversion.errors import ConversionError
from models.conversion.openvino import saved_model
from models.networks.candidate_cuts import inspect
from models.networks.feature_network import cut_before_classifier
from tests.support.tensorflow_files import load_expected, load_images, to_scores, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

SPREAD = 1.0
TOLERANCE = 1e-4
"""Largest difference of scores, which differ by SPREAD from image to image."""
NETWORKS = {"mobile": "mobile", "plain": "plain", "squeeze": "squeeze", "attention": "attention", "module": "module"}
NETWORKS["signatures"] = "squeeze"


@pytest.fixture(params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    """Name a SavedModel."""
    return str(request.param)


@pytest.fixture
def converted(name: str, tmp_path: Path) -> ConvertedNetwork:
    """Read a SavedModel."""
    return saved_model.read(unpack(name, tmp_path))


def test_outputs_are_those_of_tensorflow(name: str, converted: ConvertedNetwork) -> None:
    images = load_images(name)
    expected = to_scores(load_expected()[NETWORKS[name]], has_softmax=converted.has_softmax)
    assert expected.std(0).mean() > SPREAD
    for batch in (1, 3):
        with torch.no_grad():
            outputs = converted.network(images[:batch]).numpy()
        scores = outputs - outputs.mean(1, keepdims=True) if converted.has_softmax else outputs
        assert np.abs(scores - expected[:batch]).max() < TOLERANCE


def test_network_has_cuts_a_classifier_and_gradients(converted: ConvertedNetwork) -> None:
    network = converted.network
    images = torch.rand(2, *converted.input_size)
    features = cut_before_classifier(network, converted.input_size, {})
    tail = features.tail
    assert features.num_features > 1
    for cut in (next(iter(tail.cuts)), list(tail.cuts)[len(tail.cuts) // 2]):
        below, above = tail.build_parts(cut)
        with torch.no_grad():
            assert torch.equal(above(below(images)), features.trunk.network[0](images))
    assert len(inspect(network, converted.input_size)["cuts"]) > 3
    network.requires_grad_(True)(images).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_original_runs_the_file(name: str, converted: ConvertedNetwork) -> None:
    original = converted.original
    assert original is not None
    assert not original.is_independent
    outputs = original.run(load_images(name)[:3].numpy())
    assert np.abs(outputs - load_expected()[NETWORKS[name]][:3]).max() < TOLERANCE


@pytest.mark.parametrize(("name", "std"), [("mobile", 1 / 255), ("squeeze", 1 / 255), ("module", 1.0), ("plain", None)])
def test_range_of_the_images_follows_from_a_scaling_inside(name: str, std: float | None, tmp_path: Path) -> None:
    facts = saved_model.read(unpack(name, tmp_path)).preprocessing
    assert facts.input_size == (3, 64, 64)
    assert facts.std == (None if std is None else (std,) * 3)


def test_output_that_is_computed_from_the_others_is_taken(tmp_path: Path) -> None:
    notes = saved_model.read(unpack("module", tmp_path)).notes
    assert any("default is taken, which is computed from the others" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refused_write_a_file", "WriteFile"),
        ("refused_decode", "DecodeJpeg"),
        ("refused_take_two", r"2 inputs \(boxes, image\)"),
        ("refused_loop", r"loops or conditions \(Loop\)"),
        ("transferred", "random augmentation"),
    ],
)
def test_what_is_no_network_of_images_is_refused_by_name(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message):
        saved_model.read(unpack(name, tmp_path))
    assert not list(tmp_path.rglob("written_by_the_model"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = unpack("plain", tmp_path)
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:1000])
    with pytest.raises(ConversionError, match=r"OpenVINO cannot read plain .* export it again"):
        saved_model.read(folder)
