"""A backbone: a pretrained network with its source, preprocessing, licence and digest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.images.preprocessing import Preprocessing
from models.networks.feature_network import state_digest
from models.networks.graph_file import describe
from models.networks.graph_network import GraphNetwork

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
    accuracy: float | None = None
    """Top-1 accuracy on ImageNet-1k's validation images, from 0 to 1, as the source publishes it."""
    multiply_adds: int | None = None
    """Multiply-adds for one image of `input_size`, of convolutions and matrix products."""


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone; its network is in evaluation mode and needs no gradients."""

    name: str
    architecture: str
    """timm's name, without the tag, torchvision/NAME, or "graph"."""
    model_args: dict[str, Any]
    """The arguments with which timm.create_model, or torchvision's get_model, builds exactly this network."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing, licence and class names."""
    network: TimmNetwork
    """The pretrained network. Cutting copies its modules but shares its tensors, so training changes them here too."""
    digest: str
    """SHA-256, in hex, of the architecture and all weights as they were loaded."""
    own_size: tuple[int, int, int] | None = None
    """(3, H, W) of the images that it was pretrained on; None if it is loaded for these."""
    revision: str | None = None
    """Commit of the Hub's repository that the weights were loaded from; None if they are not of the Hub."""
    lineage: tuple[str, ...] = ()
    """Backbones that a checkpoint was fine-tuned from, the first first; empty for other backbones."""

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
        about: dict[str, Any] = {"architecture": architecture, "model_args": model_args}
        if isinstance(network, GraphNetwork):
            about["graph"] = describe(network)
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
