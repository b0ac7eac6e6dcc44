"""What a backbone is: a pretrained network with its source, its preprocessing, its licence and its digest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.images.preprocessing import Preprocessing
from models.networks.surgery import state_digest

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


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
