"""Whole Keras files, of Keras 2 and 3, give what TensorFlow gave for them."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch

from models.conversion.errors import ConversionError
from models.conversion.keras import importer
from models.networks.feature_network import cut_before_classifier
from tests.support.tensorflow_files import FOLDER, load_expected, load_images, to_scores

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

NAMES = (
    *("mobile.keras", "plain.keras", "squeeze.keras", "attention.keras", "transferred.keras"),
    *("plain.h5", "transferred.h5", "keras2_functions.h5", "keras2_teachable.h5"),
)
LOADED_BY_KERAS = NAMES[:6]


@pytest.fixture(autouse=True)
def _torch_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Name a file."""
    return str(request.param)


@pytest.fixture
def converted(name: str) -> ConvertedNetwork:
    """Read a file."""
    return importer.read(FOLDER / name)


def test_outputs_are_those_of_tensorflow(name: str, converted: ConvertedNetwork) -> None:
    images = load_images(name)
    expected = to_scores(load_expected()[name.split(".")[0]], has_softmax=converted.has_softmax)
    assert expected.std(0).mean() > 1
    for batch in (1, 3):
        with torch.no_grad():
            outputs = converted.network(images[:batch]).numpy()
        scores = outputs - outputs.mean(1, keepdims=True) if converted.has_softmax else outputs
        assert np.abs(scores - expected[:batch]).max() < 1e-4


def test_keras_runs_what_it_can_load(name: str, converted: ConvertedNetwork) -> None:
    if name not in LOADED_BY_KERAS:
        assert converted.original is None
        return
    assert converted.original is not None
    assert converted.original.is_independent
    outputs = converted.original.run(load_images(name)[:3].numpy())
    assert np.abs(outputs - load_expected()[name.split(".")[0]][:3]).max() < 1e-4


def test_layers_keep_their_names_batch_norm_and_gradients(name: str, converted: ConvertedNetwork) -> None:
    network = converted.network
    kinds = {type(module) for module in network.modules()}
    assert (torch.nn.BatchNorm2d in kinds) == (name != "attention.keras")
    features = cut_before_classifier(network, converted.input_size, {})
    tail = features.tail
    images = torch.rand(2, *converted.input_size)
    for cut in (next(iter(tail.cuts)), list(tail.cuts)[len(tail.cuts) // 2]):
        below, above = tail.build_parts(cut)
        with torch.no_grad():
            assert torch.equal(above(below(images)), features.trunk.network[0](images))
    assert network.num_classes == 5
    assert converted.preprocessing.std == (
        None if name in ("plain.keras", "plain.h5", "keras2_teachable.h5") else (1 / 255,) * 3
    )
    network.requires_grad_(True)(images).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def change_config(source: str, folder: Path, change: Any) -> Path:
    """Copy a `.keras` file with another configuration."""
    file = folder / source
    with zipfile.ZipFile(FOLDER / source) as archive, zipfile.ZipFile(file, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"])
                content = json.dumps(config).encode()
            changed.writestr(name, content)
    return file


def test_an_open_size_is_taken_from_the_request(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[0]["config"]["batch_shape"] = [None, None, None, 3]

    file = change_config("mobile.keras", tmp_path, change)
    opened = importer.read(file)
    assert opened.input_size == (3, 224, 224)
    assert opened.preprocessing.input_size is None
    assert any("leaves the size of images open" in note for note in opened.notes)
    converted = importer.read(file, (3, 64, 64))
    images = load_images("mobile")[:3]
    with torch.no_grad():
        outputs = converted.network(images).softmax(1).numpy()
    assert np.abs(outputs - load_expected()["mobile"][:3]).max() < 1e-5


def save(folder: Path, side: tuple[int | None, int | None], *layers: Any) -> Path:
    """Save a small network of these layers and a classifier."""
    import keras

    keras.utils.set_random_seed(0)
    ends = [keras.layers.Conv2D(8, 3, strides=2), keras.layers.Flatten(), keras.layers.Dense(5)]
    file = folder / "resizing.keras"
    keras.Sequential([keras.layers.Input((*side, 3)), *layers, *ends]).save(file)
    return file


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, when it saves
def test_resizing_and_crops_inside_the_network_are_those_of_keras(tmp_path: Path) -> None:
    import keras

    for size, layers in (
        ((40, 60), [keras.layers.Resizing(32, 24)]),
        ((40, 40), [keras.layers.Resizing(56, 56, crop_to_aspect_ratio=True)]),
        ((41, 40), [keras.layers.CenterCrop(32, 27)]),
        ((None, None), [keras.layers.Resizing(32, 32), keras.layers.Rescaling(1 / 255)]),
    ):
        converted = importer.read(save(tmp_path, size, *layers), (3, 48, 44))
        assert converted.input_size == (3, *(side or own for side, own in zip(size, (48, 44), strict=True)))
        images = 255 * torch.rand(3, *converted.input_size)
        assert converted.original is not None
        expected = converted.original.run(images.numpy())
        with torch.no_grad():
            outputs = converted.network(images).numpy()
        assert np.abs(outputs - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interpolation": "nearest"}, "has interpolation 'nearest', which is not supported"),
        ({"antialias": True}, "has antialias True"),
        ({"pad_to_aspect_ratio": True}, "has pad_to_aspect_ratio True"),
    ],
)
def test_resizing_that_frameworks_do_differently_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    import keras

    with pytest.raises(ConversionError, match=rf"'resizing.*' \(Resizing\) {says}"):
        importer.read(save(tmp_path, (40, 60), keras.layers.Resizing(32, 32, **options)))


def test_lambdas_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"'average' is a Lambda: code, .* SavedModel"):
        importer.read(FOLDER / "refused_lambda.keras")


def test_custom_layers_are_refused_by_name(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[2] |= {"module": "mine.layers", "class_name": "MyLayer", "registered_name": "mine>MyLayer"}

    with pytest.raises(ConversionError, match=r"'conv2' is of the class 'MyLayer', a custom layer.*model\.export"):
        importer.read(change_config("plain.keras", tmp_path, _rename_layer(change)))


def _rename_layer(change: Any) -> Any:
    def changed(layers: list[dict[str, Any]]) -> None:
        index = next(index for index, layer in enumerate(layers) if layer["config"]["name"] == "conv2")
        layers.insert(2, layers.pop(index))
        change(layers)

    return changed


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        del layers[-1]

    with pytest.raises(ConversionError, match="weights that no layer uses"):
        importer.read(change_config("plain.keras", tmp_path, change))


def test_links_to_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "linked.h5"
    shutil.copyfile(FOLDER / "plain.h5", file)
    with h5py.File(file, "r+") as opened:
        opened["model_weights/extra"] = h5py.ExternalLink("/etc/hostname", "/data")
    with pytest.raises(ConversionError, match="link, maybe to another file"):
        importer.read(file)


def test_weights_alone_are_refused() -> None:
    with pytest.raises(ConversionError, match="holds weights alone"):
        importer.read(FOLDER / "plain.weights.h5")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name in ("plain.keras", "plain.h5"):
        file = tmp_path / name
        file.write_bytes((FOLDER / name).read_bytes()[:9000])
        with pytest.raises(ConversionError, match=r"is no whole Keras file .* Save the network again"):
            importer.read(file)


@pytest.mark.parametrize("name", ["plain.keras", "plain.h5"])
def test_a_file_needs_no_suffix(name: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes((FOLDER / name).read_bytes())
    assert importer.read(file, None).original is not None
