"""Backbone configuration: architecture and model_args, from which timm builds the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import PretrainedCfg

from models.backbones.backbone import Backbone, BackboneSummary
from models.backbones.errors import ConfigurationBroken, WeightsBroken, WeightsUnfit
from models.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.networks.types import TimmNetwork

    ParsedConfig = tuple[dict[str, Any], str, dict[str, Any] | None]
    """Configuration, architecture and model_args, as timm parses a config.json."""

TIMM_ERRORS = (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError)
"""timm has no errors of its own: it raises one of these when a file is not as it expects."""


@dataclass(frozen=True)
class BackboneConfig:
    """The configuration of a backbone, as its source gives it."""

    name: str
    architecture: str
    """timm's name, without the tag."""
    model_args: dict[str, Any]
    """The arguments with which timm.create_model builds exactly this network, but for the number of classes."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing and licence."""
    preprocessing: Preprocessing

    @classmethod
    def from_source(cls, name: str, read: Callable[[], ParsedConfig]) -> BackboneConfig:
        """Check the configuration that `read` reads from a source; raises ConfigurationBroken."""
        try:
            given, architecture, arguments = read()
            cfg = PretrainedCfg(**{**given, "architecture": architecture}).to_dict(remove_source=True)
            preprocessing = Preprocessing.from_config(cfg)
            # Two networks of one architecture may be made for different sizes; timm would take the default tag's.
            sized = {"img_size": list(preprocessing.input_size[1:])} if cfg["fixed_input_size"] else {}
            model_args = {key: value for key, value in {**sized, **(arguments or {})}.items() if key != "num_classes"}
            is_known = timm.is_model(architecture)
        except TIMM_ERRORS as error:
            raise ConfigurationBroken(
                f"The config.json of {name} is not in timm's format ({error!r}). "
                "Write one with timm.models.save_for_hf, or choose another backbone."
            ) from error
        if not is_known:
            raise ConfigurationBroken(
                f"The config.json of {name} names the architecture {architecture}, which timm {timm.__version__} "
                "does not have. Name one of timm.list_models(), or choose another backbone."
            )
        if preprocessing.input_size[0] != 3:
            raise ConfigurationBroken(f"{name} takes no images of three channels; choose another backbone.")
        return cls(name, architecture, model_args, cfg, preprocessing)

    def summarize(self, parameters: int) -> BackboneSummary:
        """Summarize the backbone for lists."""
        return BackboneSummary(
            name=self.name,
            source=self.name.split("/")[0],
            architecture=self.architecture,
            parameters=parameters,
            input_size=self.preprocessing.input_size,
            licence=self.pretrained_cfg.get("license"),
        )

    def build_without_weights(self) -> TimmNetwork:
        """Build the network on the meta device; raises ConfigurationBroken."""
        return self._build(pretrained_cfg=self.pretrained_cfg)

    def load(self, model: str, filename: str) -> Backbone:
        """Load the backbone with its weights, which timm finds by the name `model`.

        Raises WeightsBroken, WeightsUnfit, ConfigurationBroken, and all errors of the Hub.
        """
        try:
            network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"hf_hub_filename": filename})
        except SafetensorError as error:
            raise WeightsBroken(
                f"The weights of {self.name} cannot be read ({error}): the file is truncated or damaged. Copy it "
                "again; if it came from the Hub, delete it from HF_HOME first."
            ) from error
        except TIMM_ERRORS as error:
            raise WeightsUnfit(f"The weights of {self.name} do not fit its {self.architecture}: {error}") from error
        self._check_that_timm_rebuilds(network)
        return Backbone.from_network(self.name, self.architecture, self.model_args, self.pretrained_cfg, network)

    def _check_that_timm_rebuilds(self, network: TimmNetwork) -> None:
        """Check that timm rebuilds the network from architecture and model_args alone; raises ConfigurationBroken."""
        rebuilt = self._build(num_classes=network.num_classes)
        if _shapes(rebuilt) != _shapes(network):
            raise ConfigurationBroken(
                f"timm builds no network for the weights of {self.name} from its architecture and model_args alone. "
                "State in its config.json how it differs from the default; usually img_size is missing in model_args."
            )

    def _build(self, **arguments: Any) -> TimmNetwork:
        try:
            with torch.device("meta"):
                network: TimmNetwork = timm.create_model(self.architecture, **arguments, **self.model_args)
        except TIMM_ERRORS as error:
            raise ConfigurationBroken(
                f"timm cannot build the {self.architecture} of {self.name}: {error}. "
                "Correct the model_args in its config.json."
            ) from error
        return network


def _shapes(network: TimmNetwork) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
