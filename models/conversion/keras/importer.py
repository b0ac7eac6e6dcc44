"""Read a whole Keras network: `.keras` of Keras 3, `.h5` of Keras 2 or 3. Its configuration and weights are data."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.conversion.converted import ConvertedNetwork
from models.conversion.errors import ExtraMissing, FileBroken, UnsupportedModel
from models.conversion.first_operations import read_first_operations
from models.conversion.graph_builder import GraphBuilder
from models.conversion.keras.config import NetworkConfig, parse_network
from models.conversion.keras.facts import find_facts
from models.conversion.keras.graph import KerasWalk, find_input_shape
from models.conversion.keras.runtime import KerasRuntime
from models.conversion.keras.weights import MAX_BYTES, NamedWeights, NumberedWeights, read_datasets
from models.conversion.maps import pool_maps
from models.conversion.output import FinishedGraph, finish

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.keras.weights import LayerWeights

DEFAULT_SIDE = 224
MAX_CONFIG_BYTES = 64 << 20


@dataclass(frozen=True)
class KerasFile:
    """A file's configuration and weights."""

    network: NetworkConfig
    weights: LayerWeights
    version: str
    is_keras_2: bool


def read(file: Path, input_size: tuple[int, int, int] | None = None) -> ConvertedNetwork:
    """Read a whole Keras network.

    Args:
        file: the file.
        input_size: (3, H, W) of the images, where the file leaves it open.

    Raises: ConversionError.
    """
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise ExtraMissing.of("h5py") from error
    opened = _open_zip(file) if zipfile.is_zipfile(file) else _open_hdf5(file)
    sides = find_input_shape(opened.network)[1:3]
    given = (input_size or (3, DEFAULT_SIDE, DEFAULT_SIDE))[1:]
    height, width = (side or fallback for side, fallback in zip(sides, given, strict=True))
    built = build(opened, (3, height, width))
    notes = [*built.notes, f"Written by Keras {opened.version}."]
    if None in sides and input_size is None:
        notes.append(
            f"The file leaves the size of images open: the network was read for {height}x{width} pixels. Give "
            "input_size to read it for another size."
        )
    original = KerasRuntime.of(file)
    if original is None:
        notes.append("Keras itself cannot load this file here, so nothing is there to compare the network with.")
    return ConvertedNetwork(
        network=built.finished.network,
        input_size=(3, height, width),
        original=original,
        has_softmax=built.finished.has_softmax,
        preprocessing=find_facts(
            read_first_operations(built.finished.network), None if None in sides else (3, height, width)
        ),
        notes=notes,
    )


@dataclass(frozen=True)
class BuiltNetwork:
    """A network of torch, and what is to be said of it."""

    finished: FinishedGraph
    notes: list[str]


def build(opened: KerasFile, input_size: tuple[int, int, int]) -> BuiltNetwork:
    """Build the network of torch that a configuration and weights describe. Raises ConversionError."""
    builder = GraphBuilder(input_size)
    walk = KerasWalk(builder, opened.weights, is_keras_2=opened.is_keras_2)
    outputs = walk.run(opened.network, [builder.images])
    unused = opened.weights.list_unused()
    if unused:
        raise FileBroken(
            f"The file has weights that no layer uses: {', '.join(unused[:5])}. Save the whole network again, with "
            "model.save('model.keras')."
        )
    if len(outputs) != 1:
        raise UnsupportedModel(f"The network has {len(outputs)} outputs. Save it with one, the logits or the features.")
    output = pool_maps(builder, outputs[0], (2, 3)) if outputs[0].ndim == 4 else outputs[0]
    return BuiltNetwork(finish(builder, output), list(builder.notes))


def _open_zip(file: Path) -> KerasFile:
    """Open a `.keras` file, which is a zip of JSON and HDF5."""
    import h5py

    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sizes.get("config.json", 0) > MAX_CONFIG_BYTES or sizes.get("model.weights.h5", 0) > MAX_BYTES:
                raise FileBroken(f"{file.name} unpacks to more than is taken. Save the network again.")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights:
                arrays = read_datasets(weights, "/")
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError) as error:
        raise FileBroken(
            f"{file.name} is no whole Keras file ({error}). Save the network again, with model.save('model.keras')."
        ) from error
    version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"
    return KerasFile(parse_network(config), NumberedWeights(arrays), version, is_keras_2=False)


def _open_hdf5(file: Path) -> KerasFile:
    """Open a whole `.h5` file."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            text = opened.attrs.get("model_config")
            if text is None:
                raise UnsupportedModel(
                    f"{file.name} holds weights alone, without the network's layers. Save the whole network, with "
                    "model.save('model.keras')."
                )
            config = json.loads(text)
            version = _read_text(opened.attrs.get("keras_version", "2."))
            arrays = read_datasets(opened, "model_weights")
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise FileBroken(
            f"{file.name} is no whole Keras file ({error}). Save the network again, with model.save('model.keras')."
        ) from error
    return KerasFile(parse_network(config), NamedWeights(arrays), version, is_keras_2=not version.startswith("3"))


def _read_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
