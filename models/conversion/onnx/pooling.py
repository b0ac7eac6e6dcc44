"""ONNX's pooling, resizing and rearrangements of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.conversion.errors import UnsupportedOperator
from models.conversion.onnx.layers import read_padding
from models.conversion.padding import pad
from models.conversion.pooling import pool_average, pool_global, pool_max
from models.conversion.values import list_ints

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator
    from models.conversion.values import Value


def convert_max_pool(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert MaxPool."""
    kernel = operator.get_ints("kernel_shape") or []
    stride = operator.get_ints("strides") or [1] * len(kernel)
    dilation = operator.get_ints("dilations") or [1] * len(kernel)
    return pool_max(
        builder,
        operator.x,
        operator.path,
        kernel=kernel,
        stride=stride,
        padding=read_padding(operator, operator.x.shape[2:], kernel, stride, dilation),
        dilation=dilation,
        is_rounded_up=bool(operator.get_int("ceil_mode")),
    )


def convert_average_pool(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert AveragePool."""
    kernel = operator.get_ints("kernel_shape") or []
    ones = [1] * len(kernel)
    stride = operator.get_ints("strides") or ones
    if (operator.get_ints("dilations") or ones) != ones:
        raise UnsupportedOperator("An average pooling with dilation.")
    return pool_average(
        builder,
        operator.x,
        operator.path,
        kernel=kernel,
        stride=stride,
        padding=read_padding(operator, operator.x.shape[2:], kernel, stride, ones),
        is_rounded_up=bool(operator.get_int("ceil_mode")),
        counts_padding=bool(operator.get_int("count_include_pad")),
    )


def convert_global_average_pool(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert GlobalAveragePool."""
    return pool_global(builder, operator.x, operator.path)


def convert_global_max_pool(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert GlobalMaxPool."""
    return pool_global(builder, operator.x, operator.path, takes_maximum=True)


def convert_pad(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Pad, whose numbers are attributes before version 11."""
    x = operator.x
    pads = operator.ints_at(1, "pads") or operator.get_ints("paddings") or []
    given = operator.ints_at(3, "axes")
    axes = list(range(x.ndim)) if given is None else [axis % x.ndim for axis in given]
    if len(pads) != 2 * len(axes):
        raise UnsupportedOperator(f"It has {len(pads)} numbers for {len(axes)} axes.")
    before, after = [0] * x.ndim, [0] * x.ndim
    for index, axis in enumerate(axes):
        before[axis], after[axis] = pads[index], pads[len(axes) + index]
    value = operator.number_at(2, "value") or 0.0
    return pad(builder, x, before, after, operator.path, mode=operator.get_text("mode", "constant"), value=value)


def convert_resize(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Resize and Upsample to the sizes that torch's interpolation computes in the same way."""
    x = operator.x
    size = _read_size(operator)
    if list(x.shape[2:]) == size:
        return x
    mode = operator.get_text("mode", "nearest")
    place, rounding = "asymmetric", "floor"
    if operator.kind == "Resize" and operator.opset >= 11:
        place = operator.get_text("coordinate_transformation_mode", "half_pixel")
        rounding = operator.get_text("nearest_mode", "round_prefer_floor")
    is_plain = not operator.get_int("antialias") and not operator.get_int("exclude_outside")
    if mode == "nearest":
        # Where each pixel is repeated a whole number of times, all rules choose the same.
        is_whole = all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True))
        if not is_plain or not (
            _is_repeated(place, rounding) if is_whole else place == "asymmetric" and rounding == "floor"
        ):
            raise UnsupportedOperator(f"A resize by '{place}' and '{rounding}'. Export with a scale of 2 by nearest.")
        return builder.call(nn.functional.interpolate, x, size, path=operator.path, mode="nearest")
    names = {"linear": "bilinear", "cubic": "bicubic"}
    aligned = place == "align_corners"
    is_known = mode in names and (aligned or place in ("half_pixel", "pytorch_half_pixel"))
    is_enlarged = not (place == "half_pixel" and 1 in size)
    coefficient = operator.get_float("cubic_coeff_a", -0.75)
    if x.ndim != 4 or not is_known or not is_plain or not is_enlarged or (mode == "cubic" and coefficient != -0.75):
        raise UnsupportedOperator(f"A resize by '{mode}' and '{place}', which torch does not compute alike.")
    return builder.call(nn.functional.interpolate, x, size, path=operator.path, mode=names[mode], align_corners=aligned)


def _is_repeated(place: str, rounding: str) -> bool:
    """Tell whether a pixel is repeated by a rule, where the size is multiplied by a whole number."""
    if place == "asymmetric":
        return rounding == "floor"
    return place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and rounding.startswith("round_prefer")


def _read_size(operator: Operator) -> list[int]:
    """Read the new height and width, which are given as sizes or as scales."""
    x = operator.x
    given = operator.get_ints("axes")
    axes = list(range(x.ndim)) if given is None else [axis % x.ndim for axis in given]
    sizes = operator.get(3)
    size = list(x.shape)
    if operator.get_text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedOperator("A resize that keeps the aspect ratio.")
    if sizes is not None and sizes.shape.numel():
        for axis, number in zip(axes, list_ints(sizes.samples[0]), strict=True):
            size[axis] = number
    else:
        for axis, scale in zip(axes, _read_scales(operator), strict=True):
            size[axis] = int(x.shape[axis] * scale + 1e-6)
    if size[1] != x.shape[1]:
        raise UnsupportedOperator("A resize of the channels.")
    return size[2:]


def _read_scales(operator: Operator) -> list[float]:
    """Read the scales, which are an attribute before version 9."""
    if "scales" in operator.attributes:
        return [float(scale) for scale in operator.attributes["scales"]]
    scales = operator.require(1 if operator.kind == "Upsample" or operator.opset < 11 else 2)
    return [float(scale) for scale in scales.samples[0].tolist()]


def depth_to_space(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert DepthToSpace, of which torch has the order CRD as pixel shuffle."""
    block, x = operator.get_int("blocksize"), operator.x
    if operator.get_text("mode", "DCR") == "DCR":
        shape = [-1, block * block, x.shape[1] // (block * block), *x.shape[2:]]
        swapped = builder.call(
            torch.transpose, builder.call(torch.reshape, x, shape, path=operator.path), 1, 2, path=operator.path
        )
        x = builder.call(torch.reshape, swapped, [-1, *x.shape[1:]], path=operator.path)
    return builder.call(nn.functional.pixel_shuffle, x, block, path=operator.path)


def space_to_depth(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert SpaceToDepth: channels vary fastest, where torch's have them vary slowest."""
    block, x = operator.get_int("blocksize"), operator.x
    mixed = builder.call(nn.functional.pixel_unshuffle, x, block, path=operator.path)
    shape = [-1, x.shape[1], block * block, *mixed.shape[2:]]
    swapped = builder.call(
        torch.transpose, builder.call(torch.reshape, mixed, shape, path=operator.path), 1, 2, path=operator.path
    )
    return builder.call(torch.reshape, swapped, [-1, *mixed.shape[1:]], path=operator.path)


OPERATORS: dict[str, Converter] = {
    "AveragePool": convert_average_pool,
    "DepthToSpace": depth_to_space,
    "GlobalAveragePool": convert_global_average_pool,
    "GlobalMaxPool": convert_global_max_pool,
    "MaxPool": convert_max_pool,
    "Pad": convert_pad,
    "Resize": convert_resize,
    "SpaceToDepth": space_to_depth,
    "Upsample": convert_resize,
}
