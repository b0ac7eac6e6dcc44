"""Read TensorFlow's SavedModels and TFLite files with OpenVINO's front ends, without TensorFlow; nothing runs."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from models.conversion.errors import ConversionError, ExtraMissing, FileBroken, UnsupportedModel, UnsupportedOperator
from models.conversion.openvino.input_range import find_largest_number, only_user
from models.conversion.suffixes import link_with_suffix

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_SIDE = 224
"""Height and width of images where the file leaves them open and the user has not said."""
SIZE_OPEN = (
    "The file leaves the size of images open: the network was read for images of {} pixels. Give input_size to read it "
    "for another size."
)
RANDOM = ("ImageProjectiveTransformV3", "StatelessRandomUniformV2", "StatelessRandomGetKeyCounter", "RandomUniform")
KERAS_HINT = "For a Keras network, model.save('model.keras') keeps its layers, and can be sent instead."


@dataclass(frozen=True)
class ModelInput:
    """The image input of a model."""

    input_size: tuple[int, int, int]
    """(3, H, W)."""
    is_channels_last: bool
    has_open_size: bool
    """Height or width are left open by the file."""
    batch: int | None
    """The size of batch that the file is written for; None if it is left open."""
    is_integer: bool
    quantized_range: tuple[float, float] | None
    """The numbers that the smallest and the largest integer stand for, if the input is quantized."""


@dataclass(frozen=True)
class ModelFile:
    """A file as OpenVINO has read it."""

    model: Any
    """The graph (openvino.Model), for images of one size."""
    input: ModelInput
    largest_number: float | None
    """The largest number that the images hold, 255 or 1; None if the file does not say."""


def read_model(path: Path, framework: Literal["tf", "tflite"], input_size: tuple[int, int, int] | None) -> ModelFile:
    """Read a file or folder with OpenVINO's front ends, for images of one size. Raises ConversionError."""
    try:
        # What openvino.convert_model does, without reporting the use of it over the network.
        from openvino._offline_transformations import apply_moc_transformations
        from openvino.frontend import FrontEndManager
    except ImportError as error:
        raise ExtraMissing.of("OpenVINO") from error
    try:
        front_end = FrontEndManager().load_by_framework(framework)
        with _named(path, framework) as named:
            model = front_end.convert(front_end.load(str(named)))
        taken = _find_input(model, input_size)
        # The simplification makes a factor that the network begins with part of its first convolution.
        largest = None if taken.is_integer else find_largest_number(model.get_parameters()[0])
        if taken.has_open_size:
            model.reshape(_open_shape(taken))
        apply_moc_transformations(model, cf=False, smart_reshape=True)
    except ConversionError:
        raise
    except Exception as error:  # OpenVINO's errors have no common base
        raise _explain(str(error), path.name) from error
    return ModelFile(model, taken, largest)


@contextmanager
def _named(path: Path, framework: str) -> Iterator[Path]:
    """Give a path with the suffix by which OpenVINO knows TFLite files: an upload has none."""
    if framework != "tflite" or path.suffix == ".tflite":
        yield path
        return
    with TemporaryDirectory() as folder:
        yield link_with_suffix(path, ".tflite", Path(folder))


def _open_shape(taken: ModelInput) -> list[int]:
    channels, height, width = taken.input_size
    batch = -1 if taken.batch is None else taken.batch
    return [batch, height, width, channels] if taken.is_channels_last else [batch, channels, height, width]


def _explain(message: str, name: str) -> UnsupportedOperator | FileBroken:
    """Turn OpenVINO's error into one that says what to do."""
    found = re.search(r"No conversion rule found for operations?: ([^\n]+)", message)
    if found is None:
        reason = re.sub(r"\s+", " ", message).strip()[:300]
        return FileBroken(
            f"OpenVINO cannot read {name} ({reason}). Check that the file is whole, and export it again. {KERAS_HINT}"
        )
    operators = [operator.strip() for operator in found[1].split(",")]
    if any(operator in RANDOM for operator in operators):
        advice = "These belong to random augmentation: export the network without its augmentation layers."
    else:
        advice = "Export the network for inference from images alone, without reading, writing or decoding files."
    return UnsupportedOperator(f"{name} uses operators that are not supported: {', '.join(operators)}. {advice}")


def _find_input(model: Any, input_size: tuple[int, int, int] | None) -> ModelInput:
    """Find the one input, of images; raises UnsupportedModel."""
    names = [name_port(port) for port in model.inputs]
    if len(names) != 1:
        raise UnsupportedModel(
            f"The network has {len(names)} inputs ({', '.join(names) or 'none'}). Export it with one input, the images."
        )
    (port,) = model.inputs
    kind = port.get_element_type().get_type_name()
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4:
        raise UnsupportedModel(
            f"The input {names[0]} has shape {shape}, of type {kind}. Export the network with one input of images, "
            "of shape (batch, height, width, 3)."
        )
    sizes = [length.get_length() if length.is_static else None for length in shape]
    is_channels_last = sizes[3] == 3 or (sizes[3] is None and sizes[1] != 3)
    channels, *sides = (sizes[3], *sizes[1:3]) if is_channels_last else sizes[1:]
    if channels not in (3, None):
        raise UnsupportedModel(
            f"The input {names[0]} has {channels} channels (its shape is {shape}). Export a network of RGB images, "
            "of shape (batch, height, width, 3)."
        )
    given = (input_size or (3, DEFAULT_SIDE, DEFAULT_SIDE))[1:]
    height, width = (side or fallback for side, fallback in zip(sides, given, strict=True))
    quantized = find_quantized_range(port.get_node())
    return ModelInput(
        input_size=(3, height, width),
        is_channels_last=is_channels_last,
        has_open_size=None in sides or channels is None,
        batch=sizes[0],
        is_integer=not port.get_element_type().is_real(),
        quantized_range=None if quantized is None else quantized[1],
    )


def name_port(port: Any) -> str:
    names = sorted(port.get_names())
    return str(names[0] if names else port.get_node().get_friendly_name())


def find_quantized_range(parameter: Any) -> tuple[str, tuple[float, float]] | None:
    """Find the operator that dequantizes an integer input: (its name, what its ends stand for)."""
    if parameter.get_element_type().is_real():
        return None
    node = parameter
    while (user := only_user(node)) is not None and user.get_type_name() in ("Convert", "Transpose"):
        node = user
    user = only_user(node)
    if user is None or user.get_type_name() != "FakeQuantize":
        return None
    low, high = (float(user.input_value(index).get_node().get_data().reshape(-1)[0]) for index in (3, 4))
    return user.get_name(), (low, high)
