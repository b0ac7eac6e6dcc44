"""The image input of an ONNX model: its name, layout, size and type."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from models.conversion.errors import FileBroken, UnsupportedModel

TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT8: "uint8",
}
"""Types of images that are taken, by ONNX's numbers."""
DEFAULT_SIDE = 224
"""Height and width of images, where a model takes any."""
MAX_SIDE = 4096


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model that takes images."""

    name: str
    input_size: tuple[int, int, int]
    """(3, H, W)."""
    is_fixed_size: bool
    """The model states height and width."""
    is_channels_last: bool
    """The model takes (B, H, W, 3), not (B, 3, H, W)."""
    batch: int | None
    """The size of batch that the model is written for; None for any."""
    dtype: str
    """Type of the numbers, in numpy's words."""


def find_image_input(model: onnx.ModelProto, side: int | None = None) -> ImageInput:
    """Find the input that takes images; raises UnsupportedModel if there is another one, or none of that kind."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in initializers]
    used = {name for node in model.graph.node for name in node.input}
    inputs = [entry for entry in inputs if entry.name in used] or inputs
    if not inputs:
        raise FileBroken("The model has no input for images. Export it with an image as its input.")
    if len(inputs) > 1:
        names = ", ".join(f"'{entry.name[:80]}'" for entry in inputs[:8])
        raise UnsupportedModel(
            f"The model has {len(inputs)} inputs ({names}); Graft takes networks with one, the image. Export the image "
            "classifier or the vision tower alone, with all weights and statistics as constants inside the file."
        )
    return _read_input(inputs[0], side or DEFAULT_SIDE, model)


def _read_input(entry: onnx.ValueInfoProto, side: int, model: onnx.ModelProto) -> ImageInput:
    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or kind.elem_type not in TYPES:
        known = {value.number: value.name for value in onnx.TensorProto.DataType.DESCRIPTOR.values}
        name = known.get(kind.elem_type, f"number {kind.elem_type}")
        raise UnsupportedModel(
            f"The input '{entry.name[:80]}' is of type {name}. Export the network for images of float32."
        )
    sizes = [length.dim_value if length.dim_value > 0 else None for length in kind.shape.dim]
    if not kind.HasField("shape"):
        sizes = [None] * 4
    if len(sizes) != 4:
        raise UnsupportedModel(
            f"The input '{entry.name[:80]}' has {len(sizes)} axes. Export the network with a batch of images, "
            "(B, 3, H, W) or (B, H, W, 3), as its input."
        )
    is_channels_last = _is_channels_last(sizes, entry.name, model)
    batch, channels, height, width = [sizes[index] for index in ((0, 3, 1, 2) if is_channels_last else (0, 1, 2, 3))]
    if channels not in (None, 3):
        raise UnsupportedModel(
            f"The input '{entry.name[:80]}' has {channels} channels, where a colour image has 3. Export a network that "
            "takes colour images."
        )
    if max(height or 0, width or 0) > MAX_SIDE:
        raise UnsupportedModel(f"The network takes images of {height}x{width} pixels; at most {MAX_SIDE} are taken.")
    is_fixed = height is not None and width is not None
    size = (3, height or side, width or side)
    return ImageInput(entry.name, size, is_fixed, is_channels_last, batch, TYPES[kind.elem_type])


def _is_channels_last(sizes: list[int | None], name: str, model: onnx.ModelProto) -> bool:
    """Tell the layout by the axis with 3 channels, or, where sizes are open, by whether the images are transposed."""
    if sizes[1] == 3 or sizes[3] == 3:
        return sizes[1] != 3
    if sizes[1] is None and sizes[3] is None:
        readers = [node for node in model.graph.node if name in node.input]
        return bool(readers) and all(_is_transpose_to_channels_first(node) for node in readers)
    return sizes[3] in (1, 2, 4) and sizes[1] not in (1, 2, 4)


def _is_transpose_to_channels_first(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and any(list(a.ints) == [0, 3, 1, 2] for a in node.attribute)
