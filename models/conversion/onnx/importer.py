"""Import of ONNX models: each operator that the logits need becomes calls of torch's modules and functions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from models.conversion.converted import ConvertedNetwork
from models.conversion.errors import ConversionError, UnsupportedModel
from models.conversion.first_operations import read_first_operations
from models.conversion.onnx.facts import read_facts
from models.conversion.onnx.graph_walk import GraphWalk
from models.conversion.onnx.image_input import ImageInput, find_image_input
from models.conversion.onnx.model_file import (
    has_half_weights,
    read_labels,
    read_licence,
    read_metadata,
    read_model,
)
from models.conversion.onnx.original import OnnxRuntime
from models.conversion.onnx.quantization import ROUNDING
from models.conversion.output import finish, is_logits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import onnx

    from models.conversion.values import Value


def convert(path: Path, side: int | None = None) -> ConvertedNetwork:
    """Convert an ONNX model.

    Args:
        path: its file.
        side: height and width of the images, where the model takes any.

    Raises: ConversionError.
    """
    model = read_model(path)
    images, (walk, output, batch) = _import_at_some_size(model, side)
    finished = finish(walk.builder, walk.values[output])
    metadata = read_metadata(model)
    notes = [f"ONNX, version {walk.opset} of its operators, output '{output[:80]}'.", *walk.builder.notes]
    if not images.is_fixed_size:
        size = "x".join(map(str, images.input_size[1:]))
        notes.append(f"The model states no size of images; {size} pixels are taken, which it computes.")
    if batch is not None:
        notes.append(f"The model is written for a batch of {batch}; the size of the batch is left open.")
    if has_half_weights(model):
        notes.append("Weights of 16 bits became float32.")
    return ConvertedNetwork(
        network=finished.network,
        input_size=images.input_size,
        original=OnnxRuntime(path, images, output, batch),
        has_softmax=finished.has_softmax,
        is_quantized=ROUNDING in walk.builder.notes,
        preprocessing=read_facts(metadata, read_first_operations(finished.network), images),
        labels=read_labels(metadata),
        licence=read_licence(metadata),
        notes=notes,
    )


OTHER_SIDES = (
    384,
    256,
    299,
    192,
    160,
    128,
    96,
    64,
    32,
    512,
    448,
    336,
    320,
    288,
    240,
    260,
    300,
    380,
    456,
    528,
    600,
    518,
)
"""Heights and widths that are tried where a model states none, and does not compute images of 224 pixels."""


def _import_at_some_size(
    model: onnx.ModelProto, side: int | None
) -> tuple[ImageInput, tuple[GraphWalk, str, int | None]]:
    """Import a model at the size that it states, at a given one, or at the first of usual sizes that it computes.

    Exporters leave height and width open also where embeddings of positions allow one size alone.
    """
    images = find_image_input(model, side)
    try:
        return images, _import(model, images)
    except ConversionError:
        if images.is_fixed_size or side is not None:
            raise
        for other in OTHER_SIDES:
            images = find_image_input(model, other)
            with suppress(ConversionError):
                return images, _import(model, images)
        raise


def _import(model: onnx.ModelProto, images: ImageInput) -> tuple[GraphWalk, str, int | None]:
    """Import a model for any size of batch, or for one image if its shapes hold for that alone."""
    try:
        walk = GraphWalk(model, images, images.batch)
        return walk, find_logits(walk), images.batch
    except ConversionError as first:
        if images.batch is not None:
            raise
        try:
            walk = GraphWalk(model, images, 1)
            return walk, find_logits(walk), 1
        except ConversionError:
            raise first from None


def find_logits(walk: GraphWalk) -> str:
    """Convert what the outputs need, and find the one that holds logits (B, C).

    Of several such outputs, the one that is computed from all others is taken.
    """
    names = [str(output.name) for output in walk.model.graph.output]
    errors: dict[str, ConversionError] = {}
    for name in names:
        try:
            walk.compute(name)
        except ConversionError as error:
            errors[name] = error
    found = [name for name in names if name not in errors and is_logits(walk.values[name])]
    best = [name for name in found if _is_computed_from(walk, name, found)]
    if len(found) > 1 and not best:
        listed = ", ".join(f"'{name[:80]}'" for name in found)
        raise UnsupportedModel(
            f"The model has {len(found)} outputs of logits ({listed}). Export it with the one to be used alone: "
            f"onnx.utils.extract_model('a.onnx', 'b.onnx', ['{next(iter(walk.values))}'], ['{found[0][:80]}'])."
        )
    if not found and errors:
        raise next(iter(errors.values()))
    if not found:
        raise UnsupportedModel(_describe_outputs({name: walk.values[name] for name in names}))
    chosen = (best or found)[-1]
    others = [name for name in names if name != chosen]
    if others:
        walk.builder.note(f"Of its outputs, {', '.join(repr(name[:80]) for name in others)} are left out.")
    return chosen


def _is_computed_from(walk: GraphWalk, name: str, others: Iterable[str]) -> bool:
    """Tell whether an output needs all others."""
    computed = {output for index in walk.scope.find_needed([name]) for output in walk.scope.nodes[index].output}
    return all(other == name or other in computed for other in others)


def _describe_outputs(outputs: dict[str, Value]) -> str:
    """Describe outputs of which none is (B, C)."""
    shapes = []
    for name, value in outputs.items():
        sizes = ["B" if axis == value.batch_axis else str(length) for axis, length in enumerate(value.shape)]
        shapes.append(f"'{name[:80]}' ({', '.join(sizes)})")
    return (
        f"No output of the model is one vector of logits for each image, (B, C): {'; '.join(shapes)}. Export the "
        "classifier itself, without ArgMax or decoding after it; of detectors and segmenters, their pooled backbone."
    )
