"""Preprocessing that a TensorFlow or TFLite file states: size, range of a quantized input, factors inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.conversion.converted import PreprocessingFacts

if TYPE_CHECKING:
    from models.conversion.openvino.model_file import ModelFile

USUAL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
"""Ranges of pixels that the 256 levels of a quantized input stand for, if each level is a pixel's value."""
TOLERANCE = 0.02
"""Largest difference from these, as a share of the range."""


def find_facts(file: ModelFile) -> PreprocessingFacts:
    """Collect what a file says of how its images are made."""
    taken = file.input
    size = None if taken.has_open_size else taken.input_size
    if taken.quantized_range is not None:
        return _read_quantized(size, *taken.quantized_range)
    if taken.is_integer:
        return _scale(size, 255.0, "The input is of integers: the network takes images from 0 to 255.")
    largest = file.largest_number
    if largest is None:
        return PreprocessingFacts(input_size=size)
    sentence = f"The network begins by scaling its input, by a factor for images from 0 to {largest:.0f}."
    return _scale(size, largest, sentence)


def _scale(size: tuple[int, int, int] | None, largest: float, sentence: str) -> PreprocessingFacts:
    std = 1 / largest
    return PreprocessingFacts(input_size=size, mean=(0.0, 0.0, 0.0), std=(std, std, std), evidence=(sentence,))


def _read_quantized(size: tuple[int, int, int] | None, low: float, high: float) -> PreprocessingFacts:
    """Read mean and standard deviation from the numbers that the smallest and largest integer stand for."""
    width = high - low
    sentence = f"The quantized input stands for numbers from {low:.4g} to {high:.4g}."
    nearest = min(USUAL_RANGES, key=lambda usual: abs(low - usual[0]) + abs(high - usual[1]))
    if max(abs(low - nearest[0]), abs(high - nearest[1])) > TOLERANCE * width:
        return PreprocessingFacts(input_size=size, evidence=(sentence,))
    mean, std = -low / width, 1 / width
    return PreprocessingFacts(input_size=size, mean=(mean, mean, mean), std=(std, std, std), evidence=(sentence,))
