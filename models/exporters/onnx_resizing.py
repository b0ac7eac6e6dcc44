"""ONNX: images of any size, resized and cropped inside the model, to the same bytes as Pillow's antialiased filters.

The operator Resize leaves runtimes free to compute weights in single precision: ONNX Runtime's differs from Pillow by
up to 3 of 255, OpenVINO's more. So this is Pillow's own algorithm (Resample.c), in integers: a filter's weights as
multiples of 2^-22, one matrix for each axis, in three digits of 8 bits, which MatMulInteger multiplies with the bytes
of the image exactly; one axis after the other, each rounded to bytes. The widths are first, or the heights where they
lose more than twice as many pixels, as in Pillow 13 (older ones always begin with the widths).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from models.exporters.errors import NetworkUnsupported

if TYPE_CHECKING:
    from pathlib import Path

    from models.images.preprocessing import Preprocessing

PREFIX = "resizing/"
BLACK = (0, 0, 0)

CONSTANTS = {
    "bilinear": "",
    "bicubic": """c_minus_half = Constant<value=double {-0.5}>()
  c1_5 = Constant<value=double {1.5}>()
  c2 = Constant<value=double {2.0}>()
  c2_5 = Constant<value=double {2.5}>()
  c4 = Constant<value=double {4.0}>()
  c5 = Constant<value=double {5.0}>()
  c8 = Constant<value=double {8.0}>()""",
}
FILTERS = {
    "bilinear": """{axis}_rest = Sub(one, {axis}_distance)
  {axis}_filter = Max({axis}_rest, zero)""",
    "bicubic": """{axis}_near1 = Mul({axis}_distance, c1_5)
  {axis}_near2 = Sub({axis}_near1, c2_5)
  {axis}_near3 = Mul({axis}_near2, {axis}_distance)
  {axis}_near4 = Mul({axis}_near3, {axis}_distance)
  {axis}_near = Add({axis}_near4, one)
  {axis}_far1 = Sub({axis}_distance, c5)
  {axis}_far2 = Mul({axis}_far1, {axis}_distance)
  {axis}_far3 = Add({axis}_far2, c8)
  {axis}_far4 = Mul({axis}_far3, {axis}_distance)
  {axis}_far5 = Sub({axis}_far4, c4)
  {axis}_far = Mul({axis}_far5, c_minus_half)
  {axis}_is_near = Less({axis}_distance, one)
  {axis}_is_far = Less({axis}_distance, c2)
  {axis}_outer = Where({axis}_is_far, {axis}_far, zero)
  {axis}_filter = Where({axis}_is_near, {axis}_near, {axis}_outer)""",
}
"""Weight of a pixel by its distance, in pixels of the smaller image; bicubic is Keys' filter with a = -1/2."""

AXIS = """{axis}_index = Constant<value=int64 {{{index}}}>()
  {axis}_from = Gather(ordered, {axis}_index)
  {axis}_to = Gather(new_ordered, {axis}_index)
  {axis}_ratio = Div({axis}_from, {axis}_to)
  {axis}_stretch = Max({axis}_ratio, one)
  {axis}_shrink = Div(one, {axis}_stretch)
  {axis}_outputs = Range(zero, {axis}_to, one)
  {axis}_middles = Add({axis}_outputs, half)
  {axis}_places = Mul({axis}_middles, {axis}_ratio)
  {axis}_inputs = Range(zero, {axis}_from, one)
  {axis}_column = Unsqueeze({axis}_inputs, last_axis)
  {axis}_before = Sub({axis}_column, {axis}_places)
  {axis}_offsets = Add({axis}_before, half)
  {axis}_signed = Mul({axis}_offsets, {axis}_shrink)
  {axis}_distance = Abs({axis}_signed)
  {filter}
  {axis}_total = ReduceSum<keepdims=1>({axis}_filter, first_axis)
  {axis}_weights = Div({axis}_filter, {axis}_total)
  {axis}_large = Mul({axis}_weights, unit)
  {axis}_sign = Sign({axis}_large)
  {axis}_rounding = Mul({axis}_sign, half)
  {axis}_nearest = Add({axis}_large, {axis}_rounding)
  {axis}_integers = Cast<to=6>({axis}_nearest)
  {axis}_raised = Add({axis}_integers, one_unit)
  {axis}_digit0 = Mod({axis}_raised, base)
  {axis}_upper = Div({axis}_raised, base)
  {axis}_digit1 = Mod({axis}_upper, base)
  {axis}_digit2 = Div({axis}_upper, base)
  {axis}_low = Cast<to=2>({axis}_digit0)
  {axis}_middle = Cast<to=2>({axis}_digit1)
  {axis}_high = Cast<to=2>({axis}_digit2)
  {axis}_product0 = MatMulInteger({source}, {axis}_low, none, none)
  {axis}_product1 = MatMulInteger({source}, {axis}_middle, none, none)
  {axis}_product2 = MatMulInteger({source}, {axis}_high, none, raised_by)
  {axis}_sum0 = Cast<to=7>({axis}_product0)
  {axis}_sum1 = Cast<to=7>({axis}_product1)
  {axis}_sum2 = Cast<to=7>({axis}_product2)
  {axis}_part1 = Mul({axis}_sum1, second)
  {axis}_part2 = Mul({axis}_sum2, third)
  {axis}_part3 = Add({axis}_sum0, {axis}_part1)
  {axis}_part4 = Add({axis}_part3, {axis}_part2)
  {axis}_part5 = Add({axis}_part4, half_unit)
  {axis}_part6 = Div({axis}_part5, wide_unit)
  {axis}_part7 = Clip({axis}_part6, least, most)
  {axis}_bytes = Cast<to=2>({axis}_part7)"""
"""One axis, the last of (N, 3, A, B): matrix (B, B') of weights, raised by one so that no digit is negative."""

WHOLE = """<ir_version: 8, opset_import: ["" : {opset}]>
resizing (uint8[batch, height, width, 3] images) => (uint8[batch, {height}, {width}, 3] resized)
{{
  pixels = Identity(images)
  zero = Constant<value=double {{0.0}}>()
  half = Constant<value=double {{0.5}}>()
  one = Constant<value=double {{1.0}}>()
  {constants}
  unit = Constant<value=double {{4194304.0}}>()
  one_unit = Constant<value=int32 {{4194304}}>()
  base = Constant<value=int32 {{256}}>()
  half_unit = Constant<value=int64 {{2097152}}>()
  wide_unit = Constant<value=int64 {{4194304}}>()
  second = Constant<value=int64 {{256}}>()
  third = Constant<value=int64 {{65536}}>()
  least = Constant<value=int64 {{0}}>()
  most = Constant<value=int64 {{255}}>()
  none = Constant<value=uint8 {{0}}>()
  raised_by = Constant<value=uint8 {{64}}>()
  first_axis = Constant<value=int64[1] {{0}}>()
  last_axis = Constant<value=int64[1] {{-1}}>()
  own = Shape<start=1, end=3>(images)
  lengths = Cast<to=11>(own)
  {size}
  new_lengths = Cast<to=11>(size)
  reduced = Sub(lengths, new_lengths)
  shares = Constant<value=double[2] {{1.0, -2.0}}>()
  compared = Mul(reduced, shares)
  excess = ReduceSum<keepdims=0>(compared)
  top = Constant<value=int64 {{0}}>()
  reduced_height = Gather(reduced, top)
  is_taller = Greater(excess, zero)
  is_lower = Greater(reduced_height, zero)
  is_height_first = And(is_taller, is_lower)
  swapped = Constant<value=int64[2] {{1, 0}}>()
  kept = Constant<value=int64[2] {{0, 1}}>()
  order = Where(is_height_first, swapped, kept)
  ordered = Gather(lengths, order)
  new_ordered = Gather(new_lengths, order)
  channels = If(is_height_first)<
    then_branch = by_width () => (tall) {{ tall = Transpose<perm=[0, 3, 2, 1]>(pixels) }},
    else_branch = by_height () => (wide) {{ wide = Transpose<perm=[0, 3, 1, 2]>(pixels) }}>
  {first}
  between = Transpose<perm=[0, 1, 3, 2]>(a_bytes)
  {second}
  scaled = If(is_height_first)<
    then_branch = as_it_is () => (same) {{ same = Identity(b_bytes) }},
    else_branch = turned () => (back) {{ back = Transpose<perm=[0, 1, 3, 2]>(b_bytes) }}>
  wanted = Constant<value=int64[2] {{{height}, {width}}}>()
  lacking = Sub(wanted, size)
  missing = Max(lacking, least)
  two = Constant<value=int64 {{2}}>()
  before = Div(missing, two)
  after = Sub(missing, before)
  outermost = Constant<value=int64[2] {{0, 0}}>()
  padding = Concat<axis=0>(outermost, before, outermost, after)
  fill = Constant<value=int32[1,3,1,1] {{{fill}}}>()
  numbers = Cast<to=6>(scaled)
  above = Sub(numbers, fill)
  nothing = Constant<value=int32 {{0}}>()
  padded = Pad(above, padding, nothing)
  exceeding = Sub(size, wanted)
  spare = Max(exceeding, least)
  doubled = Cast<to=11>(spare)
  halved = Mul(doubled, half)
  rounded = Round(halved)
  start = Cast<to=7>(rounded)
  stop = Add(start, wanted)
  axes = Constant<value=int64[2] {{2, 3}}>()
  cropped = Slice(padded, start, stop, axes)
  filled = Add(cropped, fill)
  bytes = Cast<to=2>(filled)
  channels_last = Transpose<perm=[0, 2, 3, 1]>(bytes)
  shape = Constant<value=int64[4] {{-1, {height}, {width}, 3}}>()
  resized = Reshape(channels_last, shape)
}}"""
SHORTER_SIDE = """side = Constant<value=double {{{height}.0}}>()
  shorter = ReduceMin<keepdims=1>(lengths)
  multiplied = Mul(lengths, side)
  fractional = Div(multiplied, shorter)
  size = Cast<to=7>(fractional)"""
BOTH_SIDES = "size = Constant<value=int64[2] {{{height}, {width}}}>()"
ONE_RATIO = """target = Constant<value=double[2] {{{height}.0, {width}.0}}>()
  ratios = Div(lengths, target)
  ratio = {reduce}<keepdims=1>(ratios)
  fractional = Div(lengths, ratio)
  whole = Round(fractional)
  size = Cast<to=7>(whole)"""


def prepend(source: Path, target: Path, preprocessing: Preprocessing, opset: int) -> None:
    """Write a model of uint8 (N, H, W, 3) images so that it takes those of any H and W. Raises NetworkUnsupported."""
    import onnx
    from onnx import compose

    resizing = build(preprocessing, opset)
    compose.add_prefix(resizing, PREFIX, inplace=True)
    model = onnx.load(str(source))
    (taken,), (pixels,), (resized,) = model.graph.input, resizing.graph.input, resizing.graph.output
    for node in model.graph.node:
        node.input[:] = [resized.name if name == taken.name else name for name in node.input]
    for node in resizing.graph.node:
        node.input[:] = [taken.name if name == pixels.name else name for name in node.input]
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*resizing.graph.node, *own])
    taken.type.CopyFrom(pixels.type)
    onnx.save(model, str(target))


def build(preprocessing: Preprocessing, opset: int) -> Any:
    """Build the model that resizes and crops as timm's evaluation transform does. Raises NetworkUnsupported."""
    from onnx import parser

    if preprocessing.interpolation not in FILTERS:
        raise NetworkUnsupported(
            f"This network's images are resized by {preprocessing.interpolation}; only {' and '.join(FILTERS)} are "
            "written as ONNX. Leave resize out, and resize images before the model."
        )
    height, width = preprocessing.input_size[1:]
    is_bordered = preprocessing.crop_mode == "border"
    fill = [round(255 * mean) for mean in preprocessing.mean] if is_bordered else BLACK
    weights = FILTERS[preprocessing.interpolation]
    text = WHOLE.format(
        opset=opset,
        height=height,
        width=width,
        size=_write_size(preprocessing),
        constants=CONSTANTS[preprocessing.interpolation],
        first=AXIS.format(axis="a", index=1, source="channels", filter=weights.format(axis="a")),
        second=AXIS.format(axis="b", index=0, source="between", filter=weights.format(axis="b")),
        fill=", ".join(map(str, fill if len(fill) == 3 else [*fill] * 3)),
    )
    return parser.parse_model(text)


def _write_size(preprocessing: Preprocessing) -> str:
    """Write the size that images are resized to before they are cropped, as timm's transforms_imagenet_eval does."""
    height, width = (math.floor(side / preprocessing.crop_pct) for side in preprocessing.input_size[1:])
    if preprocessing.crop_mode == "squash":
        return BOTH_SIDES.format(height=height, width=width)
    if preprocessing.crop_mode == "border":
        return ONE_RATIO.format(height=height, width=width, reduce="ReduceMax")
    if height == width:
        return SHORTER_SIDE.format(height=height)
    return ONE_RATIO.format(height=height, width=width, reduce="ReduceMin")
