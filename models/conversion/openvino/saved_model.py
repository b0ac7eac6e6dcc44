"""Read TensorFlow's SavedModel, of TensorFlow 2 or 1, into a network of torch, without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.conversion.converted import ConvertedNetwork
from models.conversion.errors import UnsupportedModel
from models.conversion.openvino.facts import find_facts
from models.conversion.openvino.graph import convert
from models.conversion.openvino.model_file import SIZE_OPEN, read_model
from models.conversion.openvino.runtime import OpenvinoRuntime

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, input_size: tuple[int, int, int] | None = None) -> ConvertedNetwork:
    """Read a SavedModel's folder, which holds saved_model.pb and variables/.

    Args:
        folder: the unpacked folder.
        input_size: (3, H, W) of the images, where the file leaves it open.

    Raises: ConversionError.
    """
    if not (folder / "saved_model.pb").is_file():
        raise UnsupportedModel(
            "The SavedModel's graph is not in saved_model.pb. Export it in binary form, as model.export(folder) does."
        )
    read_file = read_model(folder, "tf", input_size)
    taken = read_file.input
    converted = convert(read_file)
    notes = list(converted.notes)
    if taken.has_open_size and input_size is None:
        notes.append(SIZE_OPEN.format("x".join(map(str, taken.input_size[1:]))))
    return ConvertedNetwork(
        network=converted.finished.network,
        input_size=taken.input_size,
        original=OpenvinoRuntime(read_file.model, taken, converted.output),
        has_softmax=converted.finished.has_softmax,
        is_quantized=converted.is_quantized,
        preprocessing=find_facts(read_file),
        notes=notes,
    )
