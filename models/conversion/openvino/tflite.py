"""Read a TFLite file, of floats or quantized, into a network of torch, without TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.conversion.converted import ConvertedNetwork, PreprocessingFacts
from models.conversion.openvino.facts import find_facts
from models.conversion.openvino.graph import QUANTIZED, convert
from models.conversion.openvino.litert_runtime import LitertRuntime
from models.conversion.openvino.model_file import SIZE_OPEN, read_model
from models.conversion.openvino.tflite_metadata import TfliteMetadata, read_metadata

if TYPE_CHECKING:
    from pathlib import Path


def read(file: Path, input_size: tuple[int, int, int] | None = None) -> ConvertedNetwork:
    """Read a TFLite file.

    Args:
        file: the file.
        input_size: (3, H, W) of the images, where the file leaves it open.

    Raises: ConversionError.
    """
    read_file = read_model(file, "tflite", input_size)
    taken = read_file.input
    converted = convert(read_file)
    metadata = read_metadata(file)
    notes = list(converted.notes)
    if taken.has_open_size and input_size is None:
        notes.append(SIZE_OPEN.format("x".join(map(str, taken.input_size[1:]))))
    if converted.is_quantized:
        notes.append(QUANTIZED)
    labels = metadata.labels
    count = converted.finished.network.num_classes
    if labels is not None and count not in (0, len(labels)):
        notes.append(f"The {len(labels)} labels in the file are left out: the network has {count} classes.")
        labels = None
    return ConvertedNetwork(
        network=converted.finished.network,
        input_size=taken.input_size,
        original=LitertRuntime(file, taken, converted.output),
        has_softmax=converted.finished.has_softmax,
        is_quantized=converted.is_quantized,
        preprocessing=_add_normalization(find_facts(read_file), metadata),
        labels=labels,
        licence=metadata.licence,
        notes=notes,
    )


def _add_normalization(facts: PreprocessingFacts, metadata: TfliteMetadata) -> PreprocessingFacts:
    """Take mean and standard deviation of the metadata, which are exact, before those that were concluded."""
    if not metadata.mean or not metadata.std or not all(metadata.std):
        return facts
    mean, std = (_spread(numbers) for numbers in (metadata.mean, metadata.std))
    if mean is None or std is None:
        return facts
    sentence = f"The file's metadata say: subtract {metadata.mean[0]:g} from pixels, divide by {metadata.std[0]:g}."
    return replace(facts, mean=mean, std=std, evidence=(*facts.evidence, sentence))


def _spread(numbers: tuple[float, ...]) -> tuple[float, float, float] | None:
    """Convert a number of pixels from 0 to 255, or one for each channel, to images from 0 to 1."""
    scaled = [number / 255 for number in (numbers * 3 if len(numbers) == 1 else numbers)]
    return (scaled[0], scaled[1], scaled[2]) if len(scaled) == 3 else None
