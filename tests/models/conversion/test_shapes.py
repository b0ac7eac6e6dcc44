"""The place of the batch in shapes that are written for batches of one size."""

from __future__ import annotations

import pytest
import torch

from models.conversion.graph_builder import GraphBuilder
from models.conversion.shapes import open_batch
from models.conversion.values import Value


def make_value(shape: list[int], axis: int, batch: int, parts: int = 1) -> Value:
    """Make a value whose shape for a batch is known."""
    shapes = [[length // batch * size if i == axis else length for i, length in enumerate(shape)] for size in (2, 3)]
    first, second = (torch.empty(one, device="meta") for one in shapes)
    return Value((first, second), GraphBuilder((3, 8, 8)).images.node, parts)


CASES: list[tuple[list[int], int, int, int, list[int], list[int], int]] = [
    # shape, axis of the batch, batch, parts, new shape, with the batch open, parts of the new axis
    ([1, 512, 1, 1], 0, 1, 1, [1, 512], [-1, 512], 1),
    ([1, 512, 1, 1], 0, 1, 1, [512], [-1], 1),
    ([1, 116, 8, 8], 0, 1, 1, [1, 2, 58, 8, 8], [-1, 2, 58, 8, 8], 1),
    ([1, 56, 56, 96], 0, 1, 1, [1, 8, 7, 8, 7, 96], [-1, 8, 7, 8, 7, 96], 1),
    ([1, 8, 8, 7, 7, 96], 0, 1, 1, [64, 49, 96], [-1, 49, 96], 1),
    ([64, 49, 96], 0, 1, 1, [1, 8, 8, 7, 7, 96], [-1, 8, 8, 7, 7, 96], 1),
    ([64, 49, 288], 0, 1, 1, [64, 49, 3, 3, 32], [-1, 49, 3, 3, 32], 1),
    ([64, 3, 49, 49], 0, 1, 1, [1, 64, 3, 49, 49], [-1, 64, 3, 49, 49], 1),
    ([17, 1, 64], 1, 1, 1, [17, 4, 16], [17, -1, 16], 1),
    ([17, 1, 64], 1, 1, 1, [17, 64], [-1, 64], 17),
    ([17, 1, 4, 16], 1, 1, 1, [17, 64], [-1, 64], 17),
    ([17, 64], 0, 1, 17, [17, 1, 64], [17, -1, 64], 1),
    ([8, 3, 4, 4], 0, 8, 1, [8, 48], [-1, 48], 1),
    ([8, 48], 0, 8, 1, [128, 3], [-1, 3], 1),
    ([5, 8, 6], 1, 8, 1, [5, 16, 3], [5, -1, 3], 1),
    ([8, 8, 6], 0, 8, 1, [8, 2, 4, 6], [-1, 2, 4, 6], 1),
]


@pytest.mark.parametrize(("shape", "axis", "batch", "parts", "written", "expected", "new_parts"), CASES, ids=str)
def test_the_batch_is_opened(
    shape: list[int], axis: int, batch: int, parts: int, written: list[int], expected: list[int], new_parts: int
) -> None:
    assert open_batch(make_value(shape, axis, batch, parts), written, batch) == (expected, new_parts)
