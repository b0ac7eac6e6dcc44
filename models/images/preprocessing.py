"""Preprocessing of images into the input of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from timm.data import resolve_data_config

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        """Resolve the preprocessing of a network from timm's configuration, with timm's defaults."""
        config = resolve_data_config({}, pretrained_cfg=dict(pretrained_cfg))
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

    def resize_to(self, side: int) -> Preprocessing:
        """Resize the network's input to this longer side, in pixels; its aspect ratio stays."""
        channels, *sides = self.input_size
        height, width = (round(own * side / self.side) for own in sides)
        return replace(self, input_size=(channels, height, width))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, under timm's names."""
        return asdict(self)
