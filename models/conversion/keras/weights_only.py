"""Read weights of Keras without their network, for the architectures of a closed list, which the user names."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from models.conversion.converted import ConvertedNetwork
from models.conversion.errors import ExtraMissing, FileBroken, UnsupportedModel, WeightsUnfit
from models.conversion.keras.config import parse_network
from models.conversion.keras.importer import KerasFile, build
from models.conversion.keras.runtime import BACKEND, KerasRuntime
from models.conversion.keras.weights import OrderedWeights, read_datasets

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.keras.applications import Application

SEND_WHOLE = "Send the whole network instead: model.save('model.keras')."
STANDARD_DEVIATIONS = (0.229, 0.224, 0.225)
"""Deviations of ImageNet's channels, which EfficientNet's published weights hold as variances."""


def read(file: Path, application: Application, input_size: tuple[int, int, int] | None = None) -> ConvertedNetwork:
    """Read an `.h5` file of weights.

    Args:
        file: the file.
        application: its architecture.
        input_size: (3, H, W) of the images; by default that which the architecture was published for.

    Raises: ConversionError.
    """
    groups = _read_groups(file)
    size = input_size or (3, application.side, application.side)
    network, matched = _fit(application, groups, size, file.name)
    extra = _square_deviations(matched)
    for name, arrays in matched.items():
        network.get_layer(name).set_weights(arrays)
    opened = KerasFile(parse_network(json.loads(network.to_json())), OrderedWeights(matched), "", is_keras_2=False)
    built = build(opened, size)
    return ConvertedNetwork(
        network=built.finished.network,
        input_size=size,
        original=KerasRuntime(network),
        has_softmax=built.finished.has_softmax,
        preprocessing=application.facts(),
        notes=[
            *built.notes,
            *extra,
            f"Weights of {len(matched)} layers were placed into {application.name} as Keras defines it, by "
            "their names, or else by their order, and by their shapes.",
        ],
    )


def _read_groups(file: Path) -> dict[str, list[np.ndarray]]:
    """Read the layers with weights, in their order, each with its arrays in the order of their creation."""
    try:
        import h5py
    except ImportError as error:
        raise ExtraMissing.of("h5py") from error
    try:
        with h5py.File(file, "r") as opened:
            if "layer_names" not in opened.attrs:
                raise UnsupportedModel(
                    f"{file.name} is a .weights.h5 of Keras 3, which numbers its layers and names none. {SEND_WHOLE}"
                )
            arrays = read_datasets(opened, "/")
            groups = {}
            for layer in map(_read_text, opened.attrs["layer_names"]):
                names = map(_read_text, opened[layer].attrs["weight_names"])
                groups[layer] = [arrays[f"{layer}/{name}"] for name in names]
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise FileBroken(f"{file.name} is no whole file of weights ({error}). Save it again.") from error
    return {layer: own for layer, own in groups.items() if own}


def _read_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _fit(
    application: Application, groups: dict[str, list[np.ndarray]], size: tuple[int, int, int], name: str
) -> tuple[Any, dict[str, list[np.ndarray]]]:
    """Build the variant of an architecture that the weights fit: its width, and with or without head."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = BACKEND
    try:
        import keras
    except ImportError as error:
        raise ExtraMissing.of("Keras") from error
    if keras.backend.backend() != BACKEND:
        raise ExtraMissing.of(f"Keras on {BACKEND} (KERAS_BACKEND names another)")
    last = list(groups.values())[-1] if groups else []
    classes = int(last[0].shape[-1]) if last and last[0].ndim > 1 else None
    for width in application.widths:
        for head in (classes, None):
            network = application.build(head, size, width)
            matched = _match(network, groups)
            if matched is not None:
                return network, matched
    raise WeightsUnfit(
        f"The weights do not fit {application.name}: the file has {len(groups)} layers with weights, and their number "
        f"or their shapes are others. Name the architecture that they are of. {SEND_WHOLE}"
    )


def _match(network: Any, groups: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]] | None:
    """Match a file's layers with a network's: by name if all are the same, else by order; None if a shape differs."""
    layers = {
        layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in network.layers if layer.weights
    }
    ordered = [groups[name] for name in layers] if layers.keys() == groups.keys() else list(groups.values())
    if len(ordered) != len(layers):
        return None
    if any([array.shape for array in own] != shapes for own, shapes in zip(ordered, layers.values(), strict=True)):
        return None
    return dict(zip(layers, ordered, strict=True))


def _square_deviations(matched: dict[str, list[np.ndarray]]) -> list[str]:
    """Make the deviations that EfficientNet's published weights hold as variances variances; returns notes.

    Keras divides by their roots a second time when it builds the network for its published weights.
    """
    statistics = matched.get("normalization")
    if statistics is None or not np.allclose(statistics[1].reshape(-1), STANDARD_DEVIATIONS, atol=1e-3):
        return []
    matched["normalization"] = [statistics[0], statistics[1] ** 2, *statistics[2:]]
    return ["The file normalizes by ImageNet's mean and deviations, as Keras's published weights do."]
