"""Preprocessing of images into the input of a network."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from timm.data import resolve_data_config
from timm.data.transforms import str_to_pil_interp

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_SIDE, MAX_SIDE = 16, 2048
"""Least and greatest longer side of a network's input, in pixels, as in a recipe's image_size."""
CROP_MODES = ("center", "squash", "border")
CROP_PCTS = (0.25, 2.0)
"""Least and greatest crop_pct; a small one would enlarge every image before it is cropped."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, and (pixel/255 - mean)/std channel by channel."""

    input_size: tuple[int, int, int]
    """Shape of the network's input, (3, H, W)."""
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str

    @classmethod
    def from_config(cls, pretrained_cfg: Mapping[str, Any]) -> Preprocessing:
        """Resolve the preprocessing of a network from timm's configuration, with timm's defaults.

        Raises ValueError or TypeError where a value is none that images can be prepared by.
        """
        config = resolve_data_config({}, pretrained_cfg=dict(pretrained_cfg))
        _check_size(config["input_size"])
        _check_numbers("mean", config["mean"], least=-math.inf)
        _check_numbers("std", config["std"], least=1e-6)
        str_to_pil_interp(config["interpolation"])
        if config["crop_mode"] not in CROP_MODES:
            raise ValueError(f"crop_mode {config['crop_mode']!r} is none of {', '.join(CROP_MODES)}")
        if not CROP_PCTS[0] <= config["crop_pct"] <= CROP_PCTS[1]:
            raise ValueError(f"crop_pct {config['crop_pct']} is not between {CROP_PCTS[0]} and {CROP_PCTS[1]}")
        return cls(
            input_size=tuple(config["input_size"]),
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            crop_pct=config["crop_pct"],
            crop_mode=config["crop_mode"],
        )

    @property
    def side(self) -> int:
        """The longer side of the input, in pixels."""
        return max(self.input_size[1:])

    @property
    def pixels(self) -> str:
        """The size of the input as people write it, such as 224x224 pixels."""
        return f"{self.input_size[1]}x{self.input_size[2]} pixels"

    def resize_to(self, side: int) -> Preprocessing:
        """Resize the network's input to this longer side, in pixels; its aspect ratio stays."""
        channels, *sides = self.input_size
        height, width = (round(own * side / self.side) for own in sides)
        return replace(self, input_size=(channels, height, width))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, under timm's names."""
        return asdict(self)


def _check_size(size: Any) -> None:
    is_shape = len(size) == 3 and all(type(number) is int for number in size)
    if not is_shape or min(size) < 1 or not MIN_SIDE <= max(size[1:]) <= MAX_SIDE:
        raise ValueError(f"input_size {size!r} is not [channels, height, width] of {MIN_SIDE} to {MAX_SIDE} pixels")


def _check_numbers(name: str, numbers: Any, least: float) -> None:
    are_numbers = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    if len(numbers) not in (1, 3) or not are_numbers or min(numbers) < least:
        raise ValueError(f"{name} {numbers!r} is not one number for each of the three channels")
