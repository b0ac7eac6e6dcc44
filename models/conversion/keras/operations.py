"""Keras's layers without weights, and functions used as layers: Keras 3's operations and Keras 2's TFOpLambda."""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from models.conversion.arithmetic import apply_binary
from models.conversion.keras.activations import MODULES as ACTIVATIONS
from models.conversion.keras.activations import activate
from models.conversion.padding import pad
from models.conversion.pooling import pool_global
from models.conversion.shapes import concatenate, permute, reshape_to
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.conversion.keras.layer_call import Call

BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Divide": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Multiply": torch.mul,
    "Power": torch.pow,
    "Subtract": torch.sub,
    "TrueDivide": torch.div,
}
UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Absolute": torch.abs,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Negative": torch.neg,
    "Rsqrt": torch.rsqrt,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
}
REDUCTIONS: dict[str, Callable[..., Any]] = {"Max": torch.amax, "Mean": torch.mean, "Min": torch.amin, "Sum": torch.sum}
PASSING = (
    *("ActivityRegularization", "AlphaDropout", "Cast", "Dropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomFlip"),
    *("RandomErasing", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective"),
    *(
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
    ),
    *("RandomZoom", "SpatialDropout1D", "SpatialDropout2D", "StochasticDepth", "StopGradient"),
)
"""Layers that pass on what they take, outside of training."""

FUNCTIONS_OF_KERAS_2 = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "cast": "Cast",
    "clip_by_value": "Clip",
    "concat": "Concatenate",
    "expand_dims": "ExpandDims",
    "identity": "Identity",
    "math.abs": "Abs",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.exp": "Exp",
    "math.multiply": "Multiply",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.reduce_sum": "Sum",
    "math.rsqrt": "Rsqrt",
    "math.sigmoid": "Sigmoid",
    "math.sqrt": "Sqrt",
    "math.square": "Square",
    "math.subtract": "Subtract",
    "math.tanh": "Tanh",
    "math.truediv": "TrueDivide",
    "nn.gelu": "Gelu",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.sigmoid": "Sigmoid",
    "nn.silu": "Silu",
    "nn.softmax": "SoftmaxFunction",
    "nn.swish": "Silu",
    "nn.tanh": "Tanh",
    "reshape": "ReshapeFunction",
    "squeeze": "Squeeze",
    "transpose": "Transpose",
}
"""TensorFlow's functions that Keras 2 writes as layers, by the names of Keras 3's operations."""


def pass_on(call: Call) -> Value:
    """Give the layer's input."""
    return call.x


def combine(call: Call) -> Value:
    """Combine tensors, or a tensor and a number, element by element."""
    given = call.arguments[0] if isinstance(call.arguments[0], list | tuple) else [*call.arguments]
    named = [call.options[name] for name in ("x", "y", "x1", "x2") if name in call.options]
    operands = [*given, *named][: None if isinstance(call.arguments[0], list | tuple) else 2]
    ndim = max(operand.ndim for operand in operands if isinstance(operand, Value))
    values = [_as_operand(call, operand, ndim) for operand in operands]
    total = values[0]
    for value in values[1:]:
        total = apply_binary(call.builder, BINARY[call.kind], total, value, call.path)
    return total


def _as_operand(call: Call, operand: Any, ndim: int) -> Value:
    """Make a value that is broadcast with others as in Keras."""
    if not isinstance(operand, Value):
        return call.constant(operand, ndim)
    if operand.ndim not in (0, ndim) and operand.flows:
        raise call.unsupported("combines tensors with different numbers of axes")
    return operand


def average(call: Call) -> Value:
    """Average tensors."""
    total = call.tensors[0]
    for value in call.tensors[1:]:
        total = call.builder.call(torch.add, total, value, path=call.path)
    return call.builder.call(torch.div, total, float(len(call.tensors)), path=call.path)


def add_scaled(call: Call) -> Value:
    """Add a branch times a number, as InceptionResNetV2 does."""
    trunk, branch = call.tensors
    scaled = call.builder.call(torch.mul, branch, float(call.config["scale"]), path=call.path)
    return call.builder.call(torch.add, trunk, scaled, path=call.path)


def join(call: Call) -> Value:
    """Concatenate tensors along an axis."""
    axis = call.config.get("axis", call.options.get("axis", -1))
    return concatenate(call.builder, call.tensors, call.axis(axis, call.tensors[0].ndim), call.path)


def apply_unary(call: Call) -> Value:
    """Apply a function of one tensor."""
    return call.builder.call(UNARY[call.kind], call.x, path=call.path)


def apply_activation(call: Call) -> Value:
    """Apply an activation that is a function."""
    if call.kind == "Gelu" and call.options.get("approximate", call.config.get("approximate", not call.is_keras_2)):
        return call.builder.module(torch.nn.GELU("tanh"), call.x, call.path, "gelu")
    name = {"SoftmaxFunction": "softmax", "HardSilu": "hard_silu", "HardSigmoid": "hard_sigmoid"}.get(call.kind)
    return activate(call, call.x, name or call.kind.lower())


def clip(call: Call) -> Value:
    """Limit values to a range."""
    bounds = [
        *call.arguments[1:],
        *(call.options.get(name) for name in ("x_min", "clip_value_min", "x_max", "clip_value_max")),
    ]
    low, high = (float(bound) for bound in bounds if bound is not None)
    return call.builder.call(torch.clamp, call.x, low, high, path=call.path)


def reduce(call: Call) -> Value:
    """Reduce axes to their mean, sum or extreme; of height and width, the mean is a pooling."""
    given = [*call.arguments[1:], call.options.get("axis"), call.config.get("axis")]
    axis = next((one for one in given if one is not None), None)
    keeps = bool(call.options.get("keepdims", call.config.get("keepdims", False)))
    if axis is None:
        raise call.unsupported("reduces all axes, that of the batch too")
    axes = sorted(number % call.x.ndim for number in ([axis] if isinstance(axis, int) else axis))
    if call.x.ndim == 4 and axes == [1, 2] and call.kind in ("Mean", "Max"):
        maps = pool_global(call.builder, call.x, call.path, takes_maximum=call.kind == "Max")
        return maps if keeps else call.builder.call(torch.flatten, maps, 1, path=call.path)
    reduced = call.builder.call(REDUCTIONS[call.kind], call.in_keras_order(call.x), axes, keeps, path=call.path)
    return call.store(reduced)


def flatten(call: Call) -> Value:
    """Make a vector of each image, in the order of Keras: height, width, channels."""
    call.require("data_format", "channels_last", None)
    return call.builder.call(torch.flatten, call.in_keras_order(call.x), 1, path=call.path)


def reshape(call: Call) -> Value:
    """Reshape each image."""
    shape = call.config.get("target_shape")
    if shape is None:
        given = [
            *call.arguments[1:],
            call.options.get("shape"),
            call.options.get("newshape"),
            call.config.get("newshape"),
        ]
        shape = next((one for one in given if one is not None), None)
        if not isinstance(shape, list | tuple) or not all(isinstance(number, int | None) for number in shape):
            raise call.unsupported("reshapes to a size that is computed")
        shape = shape[1:]
    return call.store(_reshape(call, call.in_keras_order(call.x), [int(number) for number in shape]))


def _reshape(call: Call, x: Value, shape: Sequence[int]) -> Value:
    """Reshape to a shape without the batch, of which one number may be -1."""
    count, known = x.shape[1:].numel(), 1
    for number in shape:
        known *= number if number != -1 else 1
    sizes = [count // known if number == -1 else number for number in shape]
    return reshape_to(call.builder, x, [-1, *sizes], call.path)


def transpose(call: Call) -> Value:
    """Put axes in another order."""
    if "dims" in call.config:
        axes = [0, *call.config["dims"]]
    else:
        given = [*call.arguments[1:], call.options.get("axes"), call.options.get("perm"), call.config.get("axes")]
        axes = next((one for one in given if one is not None), [])
    if len(axes) != call.x.ndim or axes[0] != 0:
        raise call.unsupported("moves the axis of the batch")
    return call.store(permute(call.builder, call.in_keras_order(call.x), axes, call.path))


def change_axes(call: Call) -> Value:
    """Insert or drop an axis of length 1."""
    given = [*call.arguments[1:], call.options.get("axis"), call.config.get("axis")]
    axis = next((one for one in given if one is not None), None)
    x = call.in_keras_order(call.x)
    shape = list(x.shape[1:])
    if call.kind == "ExpandDims" and isinstance(axis, int):
        shape.insert(axis % (x.ndim + 1) - 1, 1)
    else:
        axes = [axis] if isinstance(axis, int) else axis or [i for i, length in enumerate(x.shape) if length == 1 and i]
        shape = [length for index, length in enumerate(x.shape) if index and index not in [a % x.ndim for a in axes]]
    return call.store(_reshape(call, x, shape))


def take_part(call: Call) -> Value:
    """Slice a tensor, as x[:, 1:, 1:, :]."""
    spec = call.arguments[1] if len(call.arguments) > 1 else call.options.get("slice_spec", call.options.get("key"))
    parts = [_read_slice(call, one) for one in (spec if isinstance(spec, list | tuple) else [spec])]
    if not parts or parts[0] != slice(None):
        raise call.unsupported("takes some of the images of a batch")
    sliced = call.builder.call(getitem, call.in_keras_order(call.x), tuple(parts), path=call.path)
    return call.store(sliced)


def _read_slice(call: Call, spec: Any) -> Any:
    if isinstance(spec, dict):
        spec = slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    if isinstance(spec, slice) and (spec.step is None or spec.step > 0):
        return spec
    if isinstance(spec, int):
        return spec
    raise call.unsupported("slices in a way that depends on the image")


def resize(call: Call) -> Value:
    """Resize maps between the centres of their points, without a filter, as TensorFlow and torch do alike."""
    size, own = _read_size(call), [int(length) for length in call.x.shape[2:]]
    if own == size:
        return call.x
    call.require("data_format", "channels_last", None)
    call.require("interpolation", "bilinear")
    call.require("antialias", False)
    if own[0] * size[1] != own[1] * size[0]:  # else there is nothing to cut off or to fill
        call.require("crop_to_aspect_ratio", False)
        call.require("pad_to_aspect_ratio", False)
    return call.builder.call(
        functional.interpolate, call.x, path=call.path, size=size, mode="bilinear", align_corners=False
    )


def crop_centre(call: Call) -> Value:
    """Cut the middle out of maps, a point nearer to their start where they cannot be halved."""
    size, own = _read_size(call), [int(length) for length in call.x.shape[2:]]
    call.require("data_format", "channels_last", None)
    over = [length - wanted for length, wanted in zip(own, size, strict=True)]
    if min(over) < 0:
        raise call.unsupported(f"cuts {size} points out of maps of {own}, and so resizes them first")
    before = [0, 0, *(-(length // 2) for length in over)]
    return pad(call.builder, call.x, before, [0, 0, *(-(length - length // 2) for length in over)], call.path)


def keep_size(call: Call) -> Value:
    """Give maps of the size that a random crop would have; it resizes others, outside of training too."""
    if _read_size(call) != [int(length) for length in call.x.shape[2:]]:
        raise call.unsupported("crops maps at random")
    return call.x


def _read_size(call: Call) -> list[int]:
    return [int(call.config["height"]), int(call.config["width"])]


OPERATIONS: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(BINARY, combine),
    **dict.fromkeys(UNARY, apply_unary),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(PASSING, pass_on),
    **dict.fromkeys((name.title().replace("_", "") for name in ACTIVATIONS), apply_activation),
    **dict.fromkeys(("HardSigmoid", "SoftmaxFunction", "Relu6"), apply_activation),
    **dict.fromkeys(("ExpandDims", "Squeeze"), change_axes),
    **dict.fromkeys(("Permute", "Transpose"), transpose),
    **dict.fromkeys(("Reshape", "ReshapeFunction"), reshape),
    "Average": average,
    "CenterCrop": crop_centre,
    "Clip": clip,
    "Concatenate": join,
    "CustomScaleLayer": add_scaled,
    "Flatten": flatten,
    "GetItem": take_part,
    "RandomCrop": keep_size,
    "Resizing": resize,
}
