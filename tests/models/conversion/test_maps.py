"""Networks without head give the average of their maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.conversion.errors import UnsupportedModel
from models.conversion.graph_builder import GraphBuilder
from models.conversion.keras import importer
from models.conversion.maps import pool_maps
from models.conversion.openvino import saved_model, tflite
from models.networks.feature_network import cut_before_classifier
from tests.support.tensorflow_files import FOLDER, load_expected, load_images, unpack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["keras", "tflite", "zip"])
def test_features_are_the_averages_of_tensorflows_maps(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if kind == "zip":
        converted = saved_model.read(unpack("headless", tmp_path))
    else:
        converted = (importer if kind == "keras" else tflite).read(FOLDER / f"headless.{kind}")
    expected = load_expected()["headless"].mean((1, 2))
    images = load_images("headless")
    with torch.no_grad():
        outputs = converted.network(images[:3]).numpy()
    assert expected.std(0).mean() > 0.05
    assert np.abs(outputs - expected[:3]).max() < 1e-5
    assert converted.original is not None
    assert np.abs(converted.original.run(images.numpy()) - expected).max() < 1e-5
    assert any("no head" in note for note in converted.notes)
    assert converted.network.num_classes == 0
    assert cut_before_classifier(converted.network, converted.input_size, {}).num_features == 24


def test_maps_of_segmentation_are_refused() -> None:
    builder = GraphBuilder((3, 64, 64))
    maps = builder.module(nn.AvgPool2d(4), builder.images, "pool")
    with pytest.raises(UnsupportedModel, match="maps of 16x16 for images of 64x64, as networks for segmentation"):
        pool_maps(builder, maps, (2, 3))
