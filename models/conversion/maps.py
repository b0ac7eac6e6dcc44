"""The features of a network without head, which ends in maps: the average of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.conversion.errors import UnsupportedModel
from models.conversion.pooling import pool_global

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.values import Value

LEAST_REDUCTION = 8
"""How much smaller than the image the maps of a classifier's last layer are at least; those of others are as large."""


def pool_maps(builder: GraphBuilder, maps: Value, axes: tuple[int, int]) -> Value:
    """Average the maps that a network without head gives; `axes` are their height and width.

    Raises UnsupportedModel for large maps, as of segmentation.
    """
    sides = [maps.shape[axis] for axis in axes]
    image = builder.images.shape[2:]
    if any(LEAST_REDUCTION * side > full for side, full in zip(sides, image, strict=True)):
        raise UnsupportedModel(
            f"The network gives maps of {sides[0]}x{sides[1]} for images of {image[0]}x{image[1]}, as networks for "
            "segmentation do. Graft takes classifiers, or networks without head whose maps are an eighth as large."
        )
    if sides != [1, 1]:
        builder.note("The network has no head and ends in maps: its features are the average of each channel.")
    if axes == (2, 3):
        return builder.call(torch.flatten, pool_global(builder, maps, "pool"), 1, path="pool")
    return builder.call(torch.mean, maps, list(axes), False, path="pool", name="mean")
