"""What a backbone is: a pretrained network with its source, its preprocessing, its licence and its digest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from timm.data import resolve_data_config

from models.surgery import TimmNetwork, state_digest

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input: resize, crop, and (pixel/255 - mean)/std channel by channel."""

    input_size: tuple[int, int, int]
    """(3, H, W)"""
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str

    @classmethod
    def of(cls, pretrained_cfg: Mapping[str, Any]) -> Preprocessing:
        """What timm resolves from a network's configuration."""
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

    def at(self, side: int) -> Preprocessing:
        """The same for an input of the same proportions with another longer side."""
        channels, *sides = self.input_size
        height, width = (round(own * side / self.side) for own in sides)
        return replace(self, input_size=(channels, height, width))

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Listing:
    """What can be said of a backbone without loading it."""

    name: str
    source: str
    architecture: str
    parameters: int | None
    input_size: tuple[int, int, int]
    licence: str | None


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone; its network is in evaluation mode and needs no gradients."""

    name: str
    architecture: str
    """timm's name, without the tag."""
    model_args: dict[str, Any]
    """What timm.create_model needs beside the architecture to build this very network."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing and origin."""
    network: TimmNetwork

    @property
    def licence(self) -> str | None:
        """The licence of the weights, where it is known."""
        return self.pretrained_cfg.get("license")

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The backbone's own."""
        return Preprocessing.of(self.pretrained_cfg)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of the architecture and all weights. Take it before surgery."""
        about = {"architecture": self.architecture, "model_args": self.model_args}
        return state_digest(self.network.state_dict(), about)
