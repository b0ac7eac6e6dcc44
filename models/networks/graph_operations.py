"""Closed lists of what a described network may consist of: classes of torch.nn and functions of plain torch.

A description names nothing else, so building a network from somebody's file runs no code but torch's own. A name is
also the Python expression of what it names. To add one: it computes a value from its arguments, and neither reads
files nor takes functions.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import Linear  # torch's, but for scripts in half precision
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "padding_mode",
)
TRANSPOSED = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups", "bias"),
    *("dilation", "padding_mode"),
)
BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
AVERAGE_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

MODULES: dict[str, tuple[str, ...]] = {
    "AdaptiveAvgPool1d": ("output_size",),
    "AdaptiveAvgPool2d": ("output_size",),
    "AdaptiveMaxPool2d": ("output_size",),
    "AvgPool1d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "AvgPool2d": (*AVERAGE_POOL, "divisor_override"),
    "BatchNorm1d": BATCH_NORM,
    "BatchNorm2d": BATCH_NORM,
    "CELU": ("alpha", "inplace"),
    "Conv1d": CONVOLUTION,
    "Conv2d": CONVOLUTION,
    "Conv3d": CONVOLUTION,
    "ConvTranspose2d": TRANSPOSED,
    "Dropout": ("p", "inplace"),
    "Dropout2d": ("p", "inplace"),
    "ELU": ("alpha", "inplace"),
    "Flatten": ("start_dim", "end_dim"),
    "GELU": ("approximate",),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine"),
    "Hardsigmoid": ("inplace",),
    "Hardswish": ("inplace",),
    "Hardtanh": ("min_val", "max_val", "inplace"),
    "Identity": (),
    "InstanceNorm2d": BATCH_NORM,
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine", "bias"),
    "LeakyReLU": ("negative_slope", "inplace"),
    "Linear": ("in_features", "out_features", "bias"),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "LogSoftmax": ("dim",),
    "MaxPool2d": MAX_POOL,
    "Mish": ("inplace",),
    "PReLU": ("num_parameters",),
    "PixelShuffle": ("upscale_factor",),
    "PixelUnshuffle": ("downscale_factor",),
    "RMSNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "ReLU": ("inplace",),
    "ReLU6": ("inplace",),
    "ReflectionPad2d": ("padding",),
    "ReplicationPad2d": ("padding",),
    "SELU": ("inplace",),
    "SiLU": ("inplace",),
    "Sigmoid": (),
    "Softmax": ("dim",),
    "Softplus": ("beta", "threshold"),
    "Softsign": (),
    "Tanh": (),
    "Threshold": ("threshold", "value", "inplace"),
    "Unflatten": ("dim", "unflattened_size"),
    "Upsample": ("size", "scale_factor", "mode", "align_corners"),
    "ZeroPad2d": ("padding",),
}
"""Classes of torch.nn, with the arguments that build a module: attributes of the same names."""

OPERATORS = {
    "operator.add": "{} + {}",
    "operator.and_": "{} & {}",
    "operator.eq": "{} == {}",
    "operator.floordiv": "{} // {}",
    "operator.ge": "{} >= {}",
    "operator.getitem": "{}[{}]",
    "operator.gt": "{} > {}",
    "operator.invert": "~{}",
    "operator.le": "{} <= {}",
    "operator.lt": "{} < {}",
    "operator.matmul": "{} @ {}",
    "operator.mod": "{} % {}",
    "operator.mul": "{} * {}",
    "operator.ne": "{} != {}",
    "operator.neg": "-{}",
    "operator.or_": "{} | {}",
    "operator.pow": "{} ** {}",
    "operator.sub": "{} - {}",
    "operator.truediv": "{} / {}",
}
"""Operators, and how Python writes them; of their arguments, one is a value of the graph."""

TORCH = (
    *("abs", "acos", "add", "addcmul", "addmm", "amax", "amin", "arange", "argmax", "argmin", "asin", "atan", "atan2"),
    *("baddbmm", "bitwise_not", "bmm", "broadcast_to", "cat", "ceil", "chunk", "clamp", "clamp_max", "clamp_min"),
    *("clone", "conv1d", "conv2d", "cos", "cosh", "cumsum", "div", "einsum", "eq", "erf", "exp", "exp2", "expm1"),
    *("flatten", "flip", "floor", "floor_divide", "fmod", "full", "full_like", "gather", "ge", "gt", "index_select"),
    *("isnan", "layer_norm", "le", "linalg.vector_norm", "log", "log1p", "log2", "log_softmax", "logical_and"),
    *("logical_not", "logical_or", "logical_xor", "logsumexp", "lt", "masked_fill", "matmul", "max", "maximum", "mean"),
    *("meshgrid", "min", "minimum", "movedim", "mul", "narrow", "ne", "neg", "norm", "ones", "ones_like", "permute"),
    *("pow", "prelu", "prod", "reciprocal", "relu", "remainder", "repeat_interleave", "reshape", "roll", "round"),
    *("rsqrt", "select", "sigmoid", "sign", "sin", "sinh", "softmax", "split", "sqrt", "square", "squeeze", "stack"),
    *("std", "sub", "sum", "swapaxes", "t", "take_along_dim", "tan", "tanh", "tensor_split", "tile", "topk"),
    *("transpose", "tril", "triu", "trunc", "unbind", "unflatten", "unsqueeze", "var", "var_mean", "where", "zeros"),
    *("zeros_like",),
)
FUNCTIONAL = (
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm"),
    *("celu", "conv_transpose2d", "dropout", "elu", "embedding", "fold", "gelu", "glu", "grid_sample", "group_norm"),
    *("hardsigmoid", "hardswish", "hardtanh", "instance_norm", "interpolate", "layer_norm", "leaky_relu", "linear"),
    *("local_response_norm", "log_softmax", "logsigmoid", "max_pool1d", "max_pool2d", "mish", "normalize", "one_hot"),
    *("pad", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention"),
    *("selu", "silu", "softmax", "softplus", "softsign", "threshold", "unfold"),
)
METHODS = (
    *("abs", "add", "amax", "amin", "argmax", "bmm", "bool", "chunk", "clamp", "clamp_max", "clamp_min", "clone"),
    *("contiguous", "cos", "cumsum", "detach", "dim", "div", "double", "eq", "erf", "exp", "expand", "expand_as"),
    *("flatten", "flip", "float", "floor", "gather", "half", "index_select", "int", "log", "log_softmax", "long"),
    *("masked_fill", "matmul", "max", "mean", "min", "movedim", "mul", "narrow", "ne", "neg", "new_ones", "new_zeros"),
    *("norm", "numel", "permute", "pow", "prod", "reciprocal", "relu", "repeat", "repeat_interleave", "reshape"),
    *("reshape_as", "roll", "rsqrt", "select", "sigmoid", "sin", "size", "softmax", "split", "sqrt", "square"),
    *("squeeze", "std"),
    *("sub", "sum", "swapaxes", "t", "tanh", "tile", "to", "transpose", "type_as", "unbind", "unflatten", "unfold"),
    *("unsqueeze", "var", "view", "view_as", "where"),
)


def _find(name: str) -> Callable[..., Any]:
    """Find what a dotted name means in torch or operator."""
    first, *rest = name.split(".")
    function = reduce(getattr, rest, {"torch": torch, "operator": operator}[first])
    assert callable(function)
    return function


FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _find(name)
    for name in (
        *OPERATORS,
        *(f"torch.Tensor.{name}" for name in METHODS),
        *(f"torch.nn.functional.{name}" for name in FUNCTIONAL),
        *(f"torch.{name}" for name in TORCH),
    )
}
"""Functions by name; a tensor's methods are functions whose first argument is the tensor."""

FUNCTION_NAMES: dict[Any, str] = {function: name for name, function in FUNCTIONS.items()}

NOT_IN_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.imatmul: operator.matmul,
}
"""Python's `x += y` and its like, which a graph writes as new values."""

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
"""Types of tensors by name."""


def describe_module(module: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Describe a module by its class and arguments; None if its class is not in the list."""
    name = type(module).__name__
    if name not in MODULES or type(module) not in (getattr(nn, name), Linear):
        return None
    return name, {argument: _read_argument(module, argument) for argument in MODULES[name]}


def _read_argument(module: nn.Module, argument: str) -> Any:
    value = getattr(module, argument)
    return value is not None if argument == "bias" else value
