"""Preprocessing that an ONNX model states: in its metadata, in its input, and in its first operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models.conversion.converted import PreprocessingFacts

if TYPE_CHECKING:
    from models.conversion.first_operations import FirstOperations
    from models.conversion.onnx.image_input import ImageInput

PIXEL_RANGES = {
    "nominalrange_0_255": (0.0, 1 / 255),
    "nominal_0_255": (0.0, 1 / 255),
    "normalized_0_1": (0.0, 1.0),
    "normalized_1_1": (0.5, 0.5),
}
"""Mean and standard deviation, of images from 0 to 1, by ONNX's names of ranges (Image.NominalPixelRange)."""


def read_facts(
    metadata: dict[str, str], first_operations: FirstOperations | None, images: ImageInput
) -> PreprocessingFacts:
    """Read what a model states of its preprocessing, with the evidence."""
    evidence = []
    scale: tuple[float, float] | None = None
    order: Literal["rgb", "bgr"] | None = None
    if first_operations is not None and first_operations.largest_pixel is not None:
        largest = first_operations.largest_pixel
        scale = (0.0, 1 / largest)
        evidence.append(f"Its first operations normalize pixels from 0 to {largest:.0f}.")
        order = first_operations.channel_order
        if order is not None:
            evidence.append(f"Its first operations subtract ImageNet's means in the order {order.upper()}.")
    elif images.dtype == "uint8":
        scale = (0.0, 1 / 255)
        evidence.append("It takes pixels of 8 bits, 0 to 255.")
    stated = PIXEL_RANGES.get(metadata.get("Image.NominalPixelRange", "").lower())
    if stated is not None:
        scale = stated
        evidence.append("Its metadata names the range of pixels (Image.NominalPixelRange).")
    kind = metadata.get("Image.BitmapPixelFormat", "").lower()
    if kind.startswith(("rgb", "bgr")):
        order = "rgb" if kind.startswith("rgb") else "bgr"
        evidence.append("Its metadata names the order of channels (Image.BitmapPixelFormat).")
    if images.is_fixed_size:
        evidence.append(f"Its input has {images.input_size[1]}x{images.input_size[2]} pixels.")
    return PreprocessingFacts(
        input_size=images.input_size if images.is_fixed_size else None,
        mean=None if scale is None else (scale[0],) * 3,
        std=None if scale is None else (scale[1],) * 3,
        channel_order=order,
        evidence=tuple(evidence),
    )
