"""Weights of Keras alone give what Keras gives with them, for a closed list of architectures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch

from models.conversion.errors import ConversionError, WeightsUnfit
from models.conversion.keras import weights_only
from models.conversion.keras.applications import Application, find_application
from tests.support.tensorflow_files import FOLDER, load_images

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (3, 64, 64)


@pytest.fixture(autouse=True)
def _torch_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))


def find(name: str) -> Application:
    """Find an architecture that is in the list."""
    application = find_application(name)
    assert application is not None
    return application


def make_alive(network: Any, images: torch.Tensor) -> None:
    """Give BatchNorm random scales, and the statistics of these images: the network then tells them apart."""
    import keras

    generator = np.random.default_rng(0)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.gamma.assign(generator.uniform(0.7, 1.3, norm.gamma.shape))
        norm.beta.assign(generator.normal(0, 0.3, norm.beta.shape))
        norm.momentum = 0.0
    with torch.no_grad():
        network(images, training=True)


def write(network: Any, file: Path) -> Path:
    """Write a network's weights as Keras 2 did."""
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = opened.create_group(layer.name)
            names = [f"{layer.name}/{index}_{weight.name}:0" for index, weight in enumerate(layer.weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.value.detach().numpy()
    return file


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [
        ("MobileNetV2", {"alpha": 0.35, "include_top": False, "pooling": "avg"}, 0.5),
        ("MobileNet", {"alpha": 0.25, "classes": 7}, 0.5),
        ("EfficientNetB0", {"include_top": False, "pooling": "avg"}, 1 / 255),
    ],
)
def test_outputs_are_those_of_keras(name: str, options: dict[str, Any], std: float, tmp_path: Path) -> None:
    import keras

    network = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), **options)
    images = (load_images("mobile") / 255 - (0.0 if std < 0.1 else 0.5)) / std
    make_alive(network, images.permute(0, 2, 3, 1).contiguous())
    converted = weights_only.read(write(network, tmp_path / "weights.h5"), find(name.lower()), SIZE)
    assert converted.preprocessing.std == (std,) * 3
    assert converted.network.num_classes == options.get("classes", 0)
    with torch.no_grad():
        expected = network(images.permute(0, 2, 3, 1).contiguous(), training=False).cpu().numpy()
        outputs = converted.network(images)
        outputs = (outputs.softmax(1) if converted.has_softmax else outputs).numpy()
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()
    assert expected.std(0).mean() > 0.02 * np.abs(expected).max()
    assert converted.original is not None
    assert np.abs(converted.original.run(images.numpy()) - expected).max() < 1e-4 * np.abs(expected).max()


def test_weights_of_other_architectures_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = [b"conv1"]
        opened.create_group("conv1").attrs["weight_names"] = [b"kernel"]
        opened["conv1/kernel"] = np.zeros((3, 3, 3, 8), "float32")
    with pytest.raises(WeightsUnfit, match=r"do not fit SqueezeNet.* the file has 1 layers"):
        weights_only.read(file, find("squeezenet"), SIZE)


def test_numbered_weights_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"weights\.h5 of Keras 3.*Send the whole network"):
        weights_only.read(FOLDER / "plain.weights.h5", find("mobilenet"))


def test_squeezenet_takes_blue_first(material: Path) -> None:
    file = material / "other-framework" / "keras_squeezenet_v1.1_notop.h5"
    if not file.exists():
        pytest.skip("the trained weights are not there")
    converted = weights_only.read(file, find("SqueezeNet"))
    assert converted.input_size == (3, 227, 227)
    assert converted.preprocessing.channel_order == "bgr"
    images = torch.rand(2, 3, 227, 227) * 255 - 120
    with torch.no_grad():
        features = converted.network(images)
    assert features.shape == (2, 512)
    assert converted.original is not None
    assert np.abs(converted.original.run(images.numpy()) - features.numpy()).max() < 1e-3
