"""Preprocessing that a Keras network states: the size of images, and a Rescaling or Normalization inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.conversion.converted import PreprocessingFacts

if TYPE_CHECKING:
    from models.conversion.first_operations import FirstOperations


def find_facts(first_operations: FirstOperations | None, input_size: tuple[int, int, int] | None) -> PreprocessingFacts:
    """Collect what a network says of how its images are made, by its first operations."""
    largest = None if first_operations is None else first_operations.largest_pixel
    if first_operations is None or largest is None:
        return PreprocessingFacts(input_size=input_size)
    std, order = 1 / largest, first_operations.channel_order
    evidence = [f"The network begins by scaling images from 0 to {largest:.0f}."]
    if order is not None:
        evidence.append(f"It subtracts ImageNet's means in the order {order.upper()}.")
    return PreprocessingFacts(
        input_size, (0.0, 0.0, 0.0), (std, std, std), channel_order=order, evidence=tuple(evidence)
    )
