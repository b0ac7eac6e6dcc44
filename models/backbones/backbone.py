"""A backbone: a pretrained network with its source, preprocessing, licence and digest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.images.preprocessing import Preprocessing
from models.networks.feature_network import state_digest

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


@dataclass(frozen=True)
class BackboneSummary:
    """A backbone as lists show it, known without its weights.

    One that cannot be used has neither architecture nor input_size: its inspection says what is wrong.
    """

    name: str
    source: str
    architecture: str | None
    parameters: int | None
    input_size: tuple[int, int, int] | None
    licence: str | None


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone; its network is in evaluation mode and needs no gradients."""

    name: str
    architecture: str
    """timm's name, without the tag."""
    model_args: dict[str, Any]
    """The arguments with which timm.create_model builds exactly this network of the architecture."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing, licence and class names."""
    network: TimmNetwork
    """The pretrained network. Cutting copies its modules but shares its tensors, so training changes them here too."""
    digest: str
    """SHA-256, in hex, of the architecture and all weights as they were loaded."""
    own_size: tuple[int, int, int] | None = None
    """(3, H, W) of the images that it was pretrained on; None if it is loaded for these."""

    @classmethod
    def from_network(
        cls,
        name: str,
        architecture: str,
        model_args: dict[str, Any],
        pretrained_cfg: dict[str, Any],
        network: TimmNetwork,
        own_size: tuple[int, int, int] | None = None,
    ) -> Backbone:
        """Freeze a network that has just been loaded, and compute its digest."""
        network.eval().requires_grad_(False)
        about = {"architecture": architecture, "model_args": model_args}
        digest = state_digest(network.state_dict(), about)
        return cls(name, architecture, model_args, pretrained_cfg, network, digest, own_size)

    @property
    def licence(self) -> str | None:
        """The licence of the weights, where it is known."""
        return self.pretrained_cfg.get("license")

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing with which the network was pretrained."""
        return Preprocessing.from_config(self.pretrained_cfg)
