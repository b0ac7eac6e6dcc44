"""Graphs that are built value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from models.conversion.errors import UnsupportedModel
from models.conversion.graph_builder import GraphBuilder
from models.conversion.layers import convolve
from models.conversion.output import finish
from models.conversion.values import Value, collapse_rows, merge_samples

if TYPE_CHECKING:
    from models.networks.graph_network import GraphNetwork


def start(batch: int | None = None) -> GraphBuilder:
    return GraphBuilder((3, 8, 8), batch)


def end(builder: GraphBuilder, value: Value) -> GraphNetwork:
    return finish(builder, builder.call(torch.flatten, value, 1, path="")).network


def test_constants_are_folded() -> None:
    builder = start()
    three = builder.call(torch.add, Value.constant(torch.ones(2)), 2, path="")
    assert three.is_constant
    assert three.tensor.tolist() == [3, 3]
    assert builder.module(nn.ReLU(), Value.constant(torch.tensor([-1.0, 1.0])), "").tensor.tolist() == [0, 1]
    assert len(builder.graph.nodes) == 1


def test_what_depends_on_the_batch_alone_is_known_for_both() -> None:
    builder = start()
    sizes = merge_samples([torch.tensor([2, 3]), torch.tensor([3, 3])])
    assert not sizes.is_constant
    assert not sizes.flows
    batch, channels = (builder.fold(torch.select, sizes, 0, index) for index in (0, 1))
    assert not batch.is_constant
    assert channels.is_constant
    assert builder.fold(torch.sub, batch, batch).tensor == 0


def test_rows_that_repeat_become_one() -> None:
    row = torch.rand(1, 4)
    repeated = Value((row.expand(2, 4), row.expand(3, 4)))
    collapsed = collapse_rows(repeated, None)
    assert collapsed is not None
    assert torch.equal(collapsed.tensor, row)
    assert collapse_rows(Value((torch.rand(2, 4), torch.rand(3, 4))), None) is None
    assert collapse_rows(Value.constant(torch.ones(4, 2)), 4) is not None
    assert collapse_rows(Value.constant(torch.rand(4, 2)), 4) is None


def test_numbers_that_depend_on_the_batch_are_refused() -> None:
    builder = start()
    numbers = Value((torch.rand(2, 1, 1, 1), torch.rand(3, 1, 1, 1)))
    with pytest.raises(UnsupportedModel, match="depend on the size of the batch"):
        builder.call(torch.add, builder.images, numbers, path="here")


def test_mixed_images_are_refused_with_the_place() -> None:
    builder = start()
    with pytest.raises(UnsupportedModel, match=r"mixes the images of a batch at here\.mean"):
        builder.call(torch.mean, builder.images, [0], path="here")


def test_sizes_scale_with_the_batch() -> None:
    builder = start()
    windows = builder.call(torch.reshape, builder.images, [-1, 16, 3], path="")
    assert windows.batch_axis == 0
    assert windows.shape_at(1) == [4, 16, 3]
    assert windows.shape_at(8) == [32, 16, 3]


def test_paths_are_unique_and_layers_hold_nothing_else() -> None:
    builder = start()
    builder.reserve(["a.conv", "a.b.c"])
    x = builder.images
    for path in ("a", "a.conv", "a.conv", "a.b", "a.conv.inside"):
        x = builder.module(nn.ReLU(), x, path, "relu")
    assert list(builder.paths.values())[1:] == ["a.relu", "a.conv", "a.conv_relu", "a.b.relu", "a.conv_inside"]
    network = end(builder, x)
    assert len(set(network.paths.values())) == len(network.paths)
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 192)


def test_floats_are_parameters_and_masks_and_indices_are_not() -> None:
    builder = start()
    x = builder.images
    embedding, mask = torch.rand(3, 8, 8), torch.zeros(8, 8).masked_fill(torch.eye(8) > 0, -100.0)
    x = builder.call(torch.add, x, Value.constant(embedding), path="embed")
    x = builder.call(torch.add, x, Value.constant(mask), path="attn")
    x = builder.call(torch.index_select, x, 1, Value.constant(torch.tensor([2, 1, 0])), path="flip")
    network = end(builder, x)
    assert dict(network.named_parameters()).keys() == {"embed.weight"}
    assert {value.dtype for value in network.buffers()} == {torch.float32, torch.int64}


def test_a_constant_that_two_layers_read_is_copied_for_each() -> None:
    """Exporters store equal tensors once; training one layer must not change another."""
    builder = start()
    weight = Value.constant(torch.rand(3, 3, 1, 1))
    x = builder.images
    for path in ("first", "second"):
        x = convolve(builder, x, weight, None, path, stride=[1, 1], padding=([0, 0], [0, 0]), dilation=[1, 1])
    first, second = (module for module in end(builder, x).modules() if isinstance(module, nn.Conv2d))
    assert torch.equal(first.weight, second.weight)
    assert first.weight.untyped_storage().data_ptr() != second.weight.untyped_storage().data_ptr()


def test_large_values_are_refused() -> None:
    builder = start()
    with pytest.raises(UnsupportedModel, match="numbers for one image"):
        builder.call(torch.tile, builder.images, (1, 1, 10**4, 10**4), path="here")
    with pytest.raises(UnsupportedModel, match="constants of 1,000,000,000,000 numbers"):
        builder.fold(torch.Tensor.expand, Value.constant(torch.ones(1)), [10**12])
