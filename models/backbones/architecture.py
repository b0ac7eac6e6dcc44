"""A blueprint: what timm needs to build a backbone's network, and to build it again for the delivered weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import PretrainedCfg

from models.backbones.backbone import Backbone, Listing
from models.backbones.errors import ConfigurationBroken, WeightsBroken, WeightsUnfit
from models.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.networks.types import TimmNetwork

    Told = tuple[dict[str, Any], str, dict[str, Any] | None]
    """Configuration, architecture and model_args, as timm's own readers of a config.json give them."""

FAULTS = (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError)
"""What timm raises, without a name of its own, when a file is not as it expects."""


@dataclass(frozen=True)
class Blueprint:
    """What a source says of a backbone."""

    name: str
    architecture: str
    """timm's name, without the tag."""
    model_args: dict[str, Any]
    """What timm.create_model needs beside the architecture and the number of classes to build this very network."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing and licence."""
    preprocessing: Preprocessing

    @classmethod
    def read(cls, name: str, tell: Callable[[], Told]) -> Blueprint:
        """What `tell` tells; raises ConfigurationBroken."""
        try:
            told, architecture, given = tell()
            cfg = PretrainedCfg(**{**told, "architecture": architecture}).to_dict(remove_source=True)
            preprocessing = Preprocessing.of(cfg)
            # Two networks of one architecture may be made for different sizes; timm would take the default tag's.
            sized = {"img_size": list(preprocessing.input_size[1:])} if cfg["fixed_input_size"] else {}
            model_args = {key: value for key, value in {**sized, **(given or {})}.items() if key != "num_classes"}
            known = timm.is_model(architecture)
        except FAULTS as error:
            raise ConfigurationBroken(
                f"The config.json of {name} is none of timm's ({error!r}). "
                "Write one with timm.models.save_for_hf, or choose another backbone."
            ) from error
        if not known:
            raise ConfigurationBroken(
                f"The config.json of {name} names the architecture {architecture}, which timm {timm.__version__} "
                "does not have. Name one of timm.list_models(), or choose another backbone."
            )
        if preprocessing.input_size[0] != 3:
            raise ConfigurationBroken(f"{name} takes no images of three channels; choose another backbone.")
        return cls(name, architecture, model_args, cfg, preprocessing)

    def listing(self, parameters: int) -> Listing:
        """What a list says of it."""
        return Listing(
            name=self.name,
            source=self.name.split("/")[0],
            architecture=self.architecture,
            parameters=parameters,
            input_size=self.preprocessing.input_size,
            licence=self.pretrained_cfg.get("license"),
        )

    def outline(self) -> TimmNetwork:
        """The network without its weights, on the meta device; raises ConfigurationBroken."""
        return self._build(pretrained_cfg=self.pretrained_cfg)

    def load(self, model: str, filename: str) -> Backbone:
        """The backbone with its weights, which timm finds by the name `model`.

        Raises WeightsBroken, WeightsUnfit, ConfigurationBroken, and whatever the Hub raises.
        """
        try:
            network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"hf_hub_filename": filename})
        except SafetensorError as error:
            raise WeightsBroken(
                f"The weights of {self.name} cannot be read ({error}): the file is cut off or damaged. Copy it again; "
                "if it came from the Hub, delete it from HF_HOME first."
            ) from error
        except FAULTS as error:
            raise WeightsUnfit(f"The weights of {self.name} do not fit its {self.architecture}: {error}") from error
        self._check_that_timm_rebuilds(network)
        return Backbone(
            name=self.name,
            architecture=self.architecture,
            model_args=self.model_args,
            pretrained_cfg=self.pretrained_cfg,
            network=network.eval().requires_grad_(False),
        )

    def _check_that_timm_rebuilds(self, network: TimmNetwork) -> None:
        """The delivered weights must load where nothing but architecture, classes and model_args is known."""
        rebuilt = self._build(num_classes=network.num_classes)
        if _shapes(rebuilt) != _shapes(network):
            raise ConfigurationBroken(
                f"timm builds no network for the weights of {self.name} from its architecture and model_args alone. "
                "Say in its config.json how it differs from the default; usually img_size is missing in model_args."
            )

    def _build(self, **given: Any) -> TimmNetwork:
        try:
            with torch.device("meta"):
                return timm.create_model(self.architecture, **given, **self.model_args)
        except FAULTS as error:
            raise ConfigurationBroken(
                f"timm cannot build the {self.architecture} of {self.name}: {error}. "
                "Correct the model_args in its config.json."
            ) from error


def _shapes(network: TimmNetwork) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
