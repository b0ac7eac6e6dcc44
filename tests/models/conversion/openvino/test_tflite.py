"""TFLite files, of floats and quantized, give what LiteRT and TensorFlow give for them."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from models.conversion.errors import ConversionError
from models.conversion.openvino import tflite
from tests.support.tensorflow_files import FOLDER, load_expected, load_images, to_scores

if TYPE_CHECKING:
    from pathlib import Path

FLOATS = ("mobile", "mobile_float16", "plain", "squeeze", "attention", "transferred")
QUANTIZED = ("mobile_dynamic", "mobile_float_ends", "mobile_int8", "mobile_uint8")


@pytest.mark.parametrize("name", FLOATS)
def test_outputs_are_those_of_tensorflow_and_litert(name: str) -> None:
    converted = tflite.read(FOLDER / f"{name}.tflite")
    images = load_images(name)
    expected = to_scores(load_expected()[f"{name}.tflite"], has_softmax=converted.has_softmax)
    assert expected.std(0).mean() > 1
    assert not converted.is_quantized
    for batch in (1, 3):
        with torch.no_grad():
            outputs = converted.network(images[:batch]).numpy()
        scores = outputs - outputs.mean(1, keepdims=True) if converted.has_softmax else outputs
        assert np.abs(scores - expected[:batch]).max() < 1e-4
    assert converted.original is not None
    assert converted.original.is_independent
    original = converted.original.run(images[:3].numpy())
    assert np.abs(original - load_expected()[f"{name}.tflite"][:3]).max() < 1e-4


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_networks_give_the_same_classes(name: str) -> None:
    converted = tflite.read(FOLDER / f"{name}.tflite")
    images = load_images(name)
    expected = load_expected()[f"{name}.tflite"]
    assert converted.is_quantized
    assert converted.network.num_classes == 5
    with torch.no_grad():
        outputs = converted.network(images).softmax(1).numpy()
    assert np.abs(outputs - expected).mean() < 0.02
    assert (outputs.argmax(1) == expected.argmax(1)).all()
    assert converted.original is not None
    assert np.abs(converted.original.run(images.numpy()) - expected).max() < 0.01
    if name in ("mobile_int8", "mobile_uint8"):
        assert converted.preprocessing.std == (1 / 255,) * 3


def test_labels_and_licence_come_from_the_file(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("labels.txt", "cat\ndog\nfox\nhen\nowl\n")
    file = tmp_path / "labelled.tflite"
    file.write_bytes((FOLDER / "mobile.tflite").read_bytes() + archive.getvalue())
    assert tflite.read(file).labels == ["cat", "dog", "fox", "hen", "owl"]


def test_a_file_needs_no_suffix(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes((FOLDER / "plain.tflite").read_bytes())
    converted = tflite.read(file)
    images = load_images("plain")
    assert converted.original is not None
    assert np.abs(converted.original.run(images.numpy()) - load_expected()["plain.tflite"]).max() < 1e-4


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "half.tflite"
    file.write_bytes((FOLDER / "mobile.tflite").read_bytes()[:20000])
    with pytest.raises(ConversionError, match=r"half\.tflite"):
        tflite.read(file)


@pytest.mark.extended
def test_the_classes_of_a_trained_network_stay(material: Path) -> None:
    file = material / "other-framework" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    if not file.exists():
        pytest.skip("the trained TFLite file is not there")
    converted = tflite.read(file)
    assert converted.preprocessing.std == pytest.approx((0.5,) * 3, abs=0.001)
    pixels = load_photographs(material / "datasets", 48)
    mean, std = (
        torch.tensor(numbers).reshape(3, 1, 1)
        for numbers in (converted.preprocessing.mean, converted.preprocessing.std)
    )
    images = (pixels / 255 - mean) / std
    with torch.no_grad():
        outputs = converted.network(images).softmax(1).numpy()
    assert converted.original is not None
    original = converted.original.run(images.numpy())
    best = np.sort(original, 1)
    sure = best[:, -1] - best[:, -2] > 0.1
    assert sure.sum() >= 12
    assert (outputs.argmax(1) == original.argmax(1))[sure].mean() >= 0.95


def load_photographs(folder: Path, count: int) -> torch.Tensor:
    """Load photographs of waste, as (count, 3, 224, 224) from 0 to 255."""
    with zipfile.ZipFile(folder / "trashnet6" / "trashnet6.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".png"))]
        chosen = names[:: max(len(names) // count, 1)][:count]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((224, 224)) for name in chosen]
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() for image in images])


def test_images_are_limited_to_the_range_of_a_quantized_input() -> None:
    network = tflite.read(FOLDER / "mobile_uint8.tflite").network
    images = load_images("mobile")[:2]
    with torch.no_grad():
        assert torch.equal(network(images + 400 * (images == 255) - 400 * (images == 0)), network(images))
        assert torch.equal(network(torch.full_like(images, 999.0)), network(torch.full_like(images, 255.0)))
