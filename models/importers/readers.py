"""Choose the reader of a format. Readers are imported when a file of theirs comes: their libraries may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.catalog.preprocessing import GivenPreprocessing
from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected
from models.importers.reader import ReadNetwork

if TYPE_CHECKING:
    from models.conversion.converted import ConvertedNetwork
    from models.importers.request import ImportRequest


@dataclass(frozen=True)
class Converter:
    """A function that reads a format into a graph."""

    module: str
    function: str
    route: str
    is_tensorflow: bool = False
    takes_side: bool = True
    """Whether it is told the longer side of images, in pixels, or (3, H, W); for files that leave the size open."""


OPENVINO = "read by OpenVINO's front end and Graft's own importer"
KERAS = "read by Graft's own importer"
CONVERTERS = {
    "onnx": Converter("models.conversion.onnx.importer", "convert", "ONNX, read by Graft's own importer"),
    "tflite": Converter(
        "models.conversion.openvino.tflite", "read", f"TFLite, {OPENVINO}", is_tensorflow=True, takes_side=False
    ),
    "saved_model": Converter(
        "models.conversion.openvino.saved_model",
        "read",
        f"SavedModel, {OPENVINO}",
        is_tensorflow=True,
        takes_side=False,
    ),
    "keras": Converter(
        "models.conversion.keras.importer", "read", f"Keras, {KERAS}", is_tensorflow=True, takes_side=False
    ),
    "keras_h5": Converter(
        "models.conversion.keras.importer", "read", f"Keras's HDF5, {KERAS}", is_tensorflow=True, takes_side=False
    ),
    "transformers_folder": Converter(
        "models.conversion.transformers_reader", "read", "transformers, traced by torch.export"
    ),
}
"""By format that becomes a graph."""
USUAL_OF_TENSORFLOW = PreprocessingFacts(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
WHY_TENSORFLOW = (
    "The file does not say which values the network takes. Most of Keras and TensorFlow that do not scale images "
    "themselves take values from -1 to 1 (its ResNets and VGGs take BGR from 0 to 255, less Caffe's mean)."
)
READERS = {
    "timm_folder": "models.importers.timm_folder",
    "safetensors": "models.importers.state_dict",
    "state_dict": "models.importers.state_dict",
    "npz": "models.importers.vit_npz",
    "graft": "models.importers.graft_checkpoint",
    "keras_weights": "models.importers.keras_weights",
}
"""By format whose weights are placed into an architecture: the module that is its `Reader`."""
FORMATS = (*CONVERTERS, *READERS)


def read(format: str, request: ImportRequest) -> ReadNetwork:
    """Read `request.file`, a file or folder of this format.

    Raises ImportRejected, ConversionError and BackboneError.
    """
    if format in READERS:
        network: ReadNetwork = _import(READERS[format], format).read(request)
        return network
    converter = CONVERTERS[format]
    given = request.preprocessing
    size = given.input_size if isinstance(given, GivenPreprocessing) else None
    wanted = max(size[1:]) if size is not None and converter.takes_side else size
    converted = getattr(_import(converter.module, format), converter.function)(request.file, wanted)
    return _from_converted(converted, converter)


def _import(module: str, format: str) -> Any:
    """Import a reader; raises ImportRejected where a library that it needs is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("models"):
            raise
        raise ImportRejected(
            "extra_missing",
            f"This server lacks {error.name}, which reads files of the format {format}. Its operator installs it with: "
            "pip install 'graft[import]'",
        ) from error


def _from_converted(converted: ConvertedNetwork, converter: Converter) -> ReadNetwork:
    return ReadNetwork(
        network=converted.network,
        architecture="graph",
        route=converter.route,
        input_size=converted.input_size,
        facts=converted.preprocessing,
        original=converted.original,
        has_softmax=converted.has_softmax,
        is_quantized=converted.is_quantized,
        labels=converted.labels,
        licence=converted.licence,
        notes=converted.notes,
        proposed=USUAL_OF_TENSORFLOW if converter.is_tensorflow else None,
        proposed_because=WHY_TENSORFLOW if converter.is_tensorflow else None,
        matched=len(list(converted.network.parameters())) + len(list(converted.network.buffers())),
    )
