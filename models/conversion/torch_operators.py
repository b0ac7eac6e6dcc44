"""Operators of an exported graph → plain torch functions that compute the same."""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from models.conversion.torch_values import evaluate, is_batched

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import fx

aten = torch.ops.aten
functional = nn.functional


class Builder(Protocol):
    """The graph's builder, as the emission of operators needs it."""

    def argument(self, value: Any, user: fx.Node | None = None) -> Any:
        """Get what an exported argument becomes."""
        ...

    def call(self, node: fx.Node, function: Any, *arguments: Any, **named: Any) -> fx.Node:
        """Call a function."""
        ...

    def count_images(self, user: fx.Node) -> fx.Node:
        """Count the images of the batch."""
        ...

    def flows(self, node: fx.Node) -> bool:
        """Tell whether a value depends on images; else it is computed for a batch of one."""
        ...


POINTWISE: dict[Any, Any] = {
    aten.abs.default: torch.abs,
    aten.add.Tensor: torch.add,
    aten.add.Scalar: torch.add,
    aten.bitwise_and.Tensor: torch.bitwise_and,
    aten.bitwise_not.default: torch.bitwise_not,
    aten.bitwise_or.Tensor: torch.bitwise_or,
    aten.clamp.default: torch.clamp,
    aten.clamp_max.default: torch.clamp_max,
    aten.clamp_min.default: torch.clamp_min,
    aten.cos.default: torch.cos,
    aten.div.Tensor: torch.div,
    aten.div.Scalar: torch.div,
    aten.div.Tensor_mode: torch.div,
    aten.elu.default: functional.elu,
    aten.eq.Scalar: torch.eq,
    aten.eq.Tensor: torch.eq,
    aten.erf.default: torch.erf,
    aten.exp.default: torch.exp,
    aten.floor.default: torch.floor,
    aten.ge.Scalar: torch.ge,
    aten.ge.Tensor: torch.ge,
    aten.gt.Scalar: torch.gt,
    aten.gt.Tensor: torch.gt,
    aten.le.Scalar: torch.le,
    aten.le.Tensor: torch.le,
    aten.log.default: torch.log,
    aten.logical_and.default: torch.logical_and,
    aten.logical_not.default: torch.logical_not,
    aten.logical_or.default: torch.logical_or,
    aten.lt.Scalar: torch.lt,
    aten.lt.Tensor: torch.lt,
    aten.masked_fill.Scalar: torch.masked_fill,
    aten.maximum.default: torch.maximum,
    aten.minimum.default: torch.minimum,
    aten.mul.Tensor: torch.mul,
    aten.mul.Scalar: torch.mul,
    aten.ne.Scalar: torch.ne,
    aten.ne.Tensor: torch.ne,
    aten.neg.default: torch.neg,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.pow.Tensor_Tensor: torch.pow,
    aten.reciprocal.default: torch.reciprocal,
    aten.round.default: torch.round,
    aten.rsqrt.default: torch.rsqrt,
    aten.sin.default: torch.sin,
    aten.softplus.default: functional.softplus,
    aten.sqrt.default: torch.sqrt,
    aten.square.default: torch.square,
    aten.sub.Tensor: torch.sub,
    aten.sub.Scalar: torch.sub,
    aten.where.self: torch.where,
}
"""Operators on each number, which repeat a value for one image over the batch by themselves."""
BROADCASTING = {*POINTWISE, aten.scaled_dot_product_attention.default}
"""All operators that do."""
FUNCTIONS: dict[Any, Any] = {
    **POINTWISE,
    aten.adaptive_avg_pool1d.default: functional.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d.default: functional.adaptive_avg_pool2d,
    aten.adaptive_max_pool2d.default: functional.adaptive_max_pool2d,
    aten.amax.default: torch.amax,
    aten.amin.default: torch.amin,
    aten.avg_pool1d.default: functional.avg_pool1d,
    aten.avg_pool2d.default: functional.avg_pool2d,
    aten.baddbmm.default: torch.baddbmm,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.chunk.default: torch.chunk,
    aten.col2im.default: functional.fold,
    aten.constant_pad_nd.default: functional.pad,
    aten.conv1d.default: functional.conv1d,
    aten.conv2d.default: functional.conv2d,
    aten.conv2d.padding: functional.conv2d,
    aten.cumsum.default: torch.cumsum,
    aten.einsum.default: torch.einsum,
    aten.expand_as.default: torch.Tensor.expand_as,
    aten.flatten.using_ints: torch.flatten,
    aten.flip.default: torch.flip,
    aten.gather.default: torch.gather,
    aten.glu.default: functional.glu,
    aten.group_norm.default: functional.group_norm,
    aten.im2col.default: functional.unfold,
    aten.index_select.default: torch.index_select,
    aten.layer_norm.default: functional.layer_norm,
    aten.linalg_vector_norm.default: torch.linalg.vector_norm,
    aten.linear.default: functional.linear,
    aten.log_softmax.int: torch.log_softmax,
    aten.matmul.default: torch.matmul,
    aten.max.dim: torch.max,
    aten.max_pool2d.default: functional.max_pool2d,
    aten.mean.default: torch.mean,
    aten.mean.dim: torch.mean,
    aten.meshgrid.indexing: torch.meshgrid,
    aten.min.dim: torch.min,
    aten.mm.default: torch.mm,
    aten.movedim.int: torch.movedim,
    aten.pad.default: functional.pad,
    aten.permute.default: torch.permute,
    aten.pixel_shuffle.default: functional.pixel_shuffle,
    aten.pixel_unshuffle.default: functional.pixel_unshuffle,
    aten.prod.dim_int: torch.prod,
    aten.repeat.default: torch.Tensor.repeat,
    aten.roll.default: torch.roll,
    aten.scaled_dot_product_attention.default: functional.scaled_dot_product_attention,
    aten.select.int: torch.select,
    aten.softmax.int: torch.softmax,
    aten.split.Tensor: torch.split,
    aten.split_with_sizes.default: torch.split,
    aten.squeeze.default: torch.squeeze,
    aten.squeeze.dim: torch.squeeze,
    aten.squeeze.dims: torch.squeeze,
    aten.stack.default: torch.stack,
    aten.std.correction: torch.std,
    aten.sum.default: torch.sum,
    aten.sum.dim_IntList: torch.sum,
    aten.transpose.int: torch.transpose,
    aten.unbind.int: torch.unbind,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.var.correction: torch.var,
    operator.getitem: operator.getitem,
}
"""Operators → functions that take the same arguments."""


def _always(node: fx.Node) -> bool:
    return True


def _keeps_type(node: fx.Node) -> bool:
    """Tell whether a conversion changes nothing."""
    before = node.args[0].meta["val"]  # type: ignore[union-attr]
    return bool(before.dtype == node.meta["val"].dtype)


def _keeps_shape(node: fx.Node) -> bool:
    before, after = node.args[0].meta["val"].shape, node.meta["val"].shape  # type: ignore[union-attr]
    return len(before) == len(after) and all(str(a) == str(b) for a, b in zip(before, after, strict=True))


def _is_normalized(node: fx.Node) -> bool:
    """Tell whether a node takes the first output of a BatchNorm, which has no other as a module."""
    source, place = node.args
    return bool(source.target is aten._native_batch_norm_legit_no_training.default and place == 0)  # type: ignore[union-attr]


SKIPPED: dict[Any, Callable[[fx.Node], bool]] = {
    aten._to_copy.default: _keeps_type,
    aten.alias.default: _always,
    aten.clone.default: _always,
    aten.contiguous.default: _always,
    aten.detach.default: _always,
    aten.dropout.default: _always,
    aten.expand.default: _keeps_shape,
    aten.feature_dropout.default: _always,
    aten.lift_fresh_copy.default: _always,
    aten.slice.Tensor: _keeps_shape,
    aten.to.device: _keeps_type,
    aten.to.dtype: _keeps_type,
    aten.to.dtype_layout: _keeps_type,
    aten.type_as.default: _keeps_type,
    operator.getitem: _is_normalized,
}
"""Operators that can be left out, where a test says so: the network is in evaluation mode."""


def emit_specially(builder: Builder, node: fx.Node) -> fx.Node | None:
    """Emit an operator whose arguments differ from its function's; None if it has none of its own."""
    emit = SPECIAL.get(node.target)
    return None if emit is None else emit(builder, node)


def _emit_reshape(builder: Builder, node: fx.Node) -> fx.Node:
    shape = node.meta["val"].shape
    value = builder.argument(node.args[0], node)
    flows = builder.flows(node)
    sides = [-1 if flows and is_batched(side) else evaluate(side, 1) for side in shape]
    return builder.call(node, torch.reshape, value, sides)


def _emit_expand(builder: Builder, node: fx.Node) -> fx.Node:
    before, after = node.args[0].meta["val"].shape, node.meta["val"].shape  # type: ignore[union-attr]
    old = [None] * (len(after) - len(before)) + list(before)
    sides = [_get_side(builder, node, *pair) for pair in zip(old, after, strict=True)]
    return builder.call(node, torch.Tensor.expand, builder.argument(node.args[0], node), sides)


def _get_side(builder: Builder, node: fx.Node, before: Any, after: Any) -> Any:
    if not is_batched(after) or not builder.flows(node):
        return evaluate(after, 1)
    return -1 if before is not None and is_batched(before) else builder.count_images(node)


def _emit_slice(builder: Builder, node: fx.Node) -> fx.Node:
    given: tuple[Any, ...] = node.args
    value, dim, start, end, step = given + (0, None, None, 1)[len(given) - 1 :]
    last = None if end is None or not isinstance(end, int) or end >= sys.maxsize else end
    count = node.args[0].meta["val"].ndim  # type: ignore[union-attr]
    places = [slice(None)] * (dim % count) + [slice(start or None, last, step if step != 1 else None)]
    return builder.call(node, operator.getitem, builder.argument(value, node), tuple(places))


def _emit_index(builder: Builder, node: fx.Node) -> fx.Node:
    value, indices = node.args
    places = tuple(slice(None) if index is None else builder.argument(index) for index in indices)  # type: ignore[union-attr]
    return builder.call(node, operator.getitem, builder.argument(value, node), places)


def _emit_batch_norm(builder: Builder, node: fx.Node) -> fx.Node:
    """Emit a normalization of weights by their own statistics: as a layer, it is a module."""
    value, weight, bias, mean, variance, training, momentum, eps, *_ = (builder.argument(one) for one in node.args)
    return builder.call(node, functional.batch_norm, value, mean, variance, weight, bias, training, momentum, eps)


def _emit_embedding(builder: Builder, node: fx.Node) -> fx.Node:
    weight, indices = node.args[:2]
    return builder.call(node, functional.embedding, builder.argument(indices, node), builder.argument(weight, node))


def _emit_rsub(builder: Builder, node: fx.Node) -> fx.Node:
    value, other = node.args[:2]
    return builder.call(node, torch.sub, builder.argument(other, None), builder.argument(value, None))


def _emit_type(builder: Builder, node: fx.Node) -> fx.Node:
    return builder.call(node, torch.Tensor.to, builder.argument(node.args[0], node), node.meta["val"].dtype)


def _emit_interpolation(mode: str, *, antialias: bool = False) -> Callable[[Builder, fx.Node], fx.Node]:
    """Emit an interpolation to the size that the exported network has found."""

    def emit(builder: Builder, node: fx.Node) -> fx.Node:
        size = [int(side) for side in node.meta["val"].shape[2:]]
        named: dict[str, Any] = {"size": size, "mode": mode}
        if mode != "nearest":
            named |= {"align_corners": bool(node.args[2]), "antialias": antialias}
        return builder.call(node, functional.interpolate, builder.argument(node.args[0], node), **named)

    return emit


SPECIAL: dict[Any, Callable[[Builder, fx.Node], fx.Node]] = {
    aten._to_copy.default: _emit_type,
    aten._upsample_bicubic2d_aa.vec: _emit_interpolation("bicubic", antialias=True),
    aten._upsample_bilinear2d_aa.vec: _emit_interpolation("bilinear", antialias=True),
    aten._unsafe_view.default: _emit_reshape,
    aten.embedding.default: _emit_embedding,
    aten.expand.default: _emit_expand,
    aten.index.Tensor: _emit_index,
    aten.batch_norm.default: _emit_batch_norm,
    aten.reshape.default: _emit_reshape,
    aten.reshape_as.default: _emit_reshape,
    aten.rsub.Scalar: _emit_rsub,
    aten.slice.Tensor: _emit_slice,
    aten.to.dtype: _emit_type,
    aten.to.dtype_layout: _emit_type,
    aten.type_as.default: _emit_type,
    aten.unflatten.int: _emit_reshape,
    aten.upsample_bicubic2d.vec: _emit_interpolation("bicubic"),
    aten.upsample_bilinear2d.vec: _emit_interpolation("bilinear"),
    aten.upsample_nearest2d.vec: _emit_interpolation("nearest"),
    aten.view.default: _emit_reshape,
    aten.view_as.default: _emit_reshape,
}
