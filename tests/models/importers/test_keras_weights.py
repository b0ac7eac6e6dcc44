"""Keras's weights alone: what their architecture usually takes is proposed, not taken in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.importers import keras_weights
from models.importers.errors import ImportRejected
from models.importers.request import ImportRequest
from tests.support.tensorflow_files import FOLDER

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("architecture", "code"), [(None, "architecture_needed"), ("resnet50", "architecture_unknown")]
)
def test_an_architecture_of_the_list_is_asked_for(architecture: str | None, code: str, tmp_path: Path) -> None:
    request = ImportRequest(file=FOLDER / "plain.weights.h5", folder=tmp_path, architecture=architecture)
    with pytest.raises(ImportRejected, match="MobileNet, MobileNetV2, EfficientNetB0") as rejected:
        keras_weights.read(request)
    assert rejected.value.code == code


def test_blue_first_is_proposed_for_squeezenet(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    file = material / "other-framework" / "keras_squeezenet_v1.1_notop.h5"
    if not file.exists():
        pytest.skip("the trained weights are not there")
    read = keras_weights.read(ImportRequest(file=file, folder=tmp_path, architecture="squeezenet"))
    assert read.facts.channel_order is None
    assert read.proposed is not None
    assert read.proposed.channel_order == "bgr"
    assert (
        read.proposed_because
        == "Weights of SqueezeNet 1.1 are published for this mean, deviation and order of channels."
    )
