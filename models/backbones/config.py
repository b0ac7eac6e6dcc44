"""Backbone configuration: architecture and model_args, from which timm builds the network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import PretrainedCfg
from timm.models._hub import load_model_config_from_path

from models.backbones import architectures
from models.backbones.backbone import Backbone, BackboneSummary
from models.backbones.errors import BackboneTooLarge, ConfigurationBroken, WeightsBroken, WeightsUnfit
from models.backbones.structure import CONFIG, Structure, check_config_file, read_structure
from models.backbones.weights_file import BROKEN, count_parameters
from models.images.preprocessing import Preprocessing
from models.networks import graph_file
from models.networks.construction import NetworkTooLarge, limit_construction
from models.networks.graph_copy import GraphError
from models.networks.image_sizes import (
    InputSizeUnsupported,
    explain_unfit_size,
    find_nearest_sizes,
    get_patch_side,
    ignores_border,
)
from models.networks.replaced_layers import put_layers
from models.runtime.devices import is_out_of_memory
from models.runtime.memory import get_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.networks.types import TimmNetwork

    ParsedConfig = tuple[dict[str, Any], str, dict[str, Any] | None]
    """Configuration, architecture and model_args, as timm parses a config.json."""

TIMM_ERRORS = (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError)
"""timm has no errors of its own: it raises one of these when weights are not as it expects."""
FACTORY_ARGUMENTS = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "checkpoint_path"),
    *("cache_dir", "scriptable", "exportable", "no_jit", "device", "dtype"),
    *("features_only", "feature_cls", "out_indices", "pruned", "weights", "progress"),
}
"""Arguments of timm and torchvision that name files and devices, or ask for a network of another kind."""
LEAST_STEP = 8
"""Least difference in pixels of the sizes that are tried in place of one that a network does not take."""
COMMON_STEP = 32
"""A multiple of most networks' patches and windows."""
MAX_TEXT, MAX_REASON = 255, 300
"""Most characters of a text that lists show, and of an error of timm's."""
WORKING_MEMORY = 1.5
"""Memory that loading a network takes, as a multiple of its parameters' in float32."""
WEIGHTS_SHARE = 0.4
"""Least number of parameters in a file of weights, as a share of the network's: the others are computed from them."""


@dataclass(frozen=True)
class BackboneConfig:
    """The configuration of a backbone, as its source gives it."""

    name: str
    architecture: str
    """timm's name, without the tag."""
    model_args: dict[str, Any]
    """The arguments with which timm.create_model builds exactly this network, but for the number of classes."""
    num_classes: int
    """Classes of the network's own classifier; 0 if it has none."""
    pretrained_cfg: dict[str, Any]
    """timm's configuration: preprocessing and licence."""
    preprocessing: Preprocessing
    own: BackboneConfig | None = None
    """The configuration for the network's own size, where this is one for another."""
    structure: Structure = field(default_factory=Structure)
    """What the network is built of, where its architecture does not say all."""

    @classmethod
    def from_folder(cls, name: str, folder: Path) -> BackboneConfig:
        """Read and check the config.json in a folder; raises ConfigurationBroken."""
        check_config_file(name, folder)
        structure = read_structure(name, folder)
        return replace(cls.from_source(name, partial(load_model_config_from_path, folder)), structure=structure)

    @classmethod
    def from_source(cls, name: str, read: Callable[[], ParsedConfig]) -> BackboneConfig:
        """Check the configuration that `read` reads from a source; raises ConfigurationBroken."""
        try:
            given, architecture, arguments = read()
            cfg = PretrainedCfg(**{**given, "architecture": architecture}).to_dict(remove_source=True)
            preprocessing = Preprocessing.from_config(cfg)
            # Two networks of one architecture may be made for different sizes; timm would take the default tag's.
            sides = list(preprocessing.input_size[1:])
            sized = architectures.get_size_arguments(architecture, sides) if cfg["fixed_input_size"] else {}
            model_args = {**sized, **(arguments or {})}
            num_classes = model_args.pop("num_classes", cfg["num_classes"])
            if type(num_classes) is not int or num_classes < 0:
                raise ValueError(f"num_classes {num_classes!r} is no number of classes")
            is_known = architectures.is_known(architecture)
            _check_text("license", cfg.get("license"))
        except Exception as error:  # timm has no errors of its own: any may be raised where a file is not as it expects
            raise ConfigurationBroken(
                f"The {CONFIG} of {name} is not in timm's format ({_explain(error)}). "
                "Write one with timm.models.save_for_hf, or choose another backbone."
            ) from error
        if not is_known:
            raise ConfigurationBroken(
                f"The {CONFIG} of {name} names the architecture {architecture!r:.100}, which timm {timm.__version__} "
                "does not have. Name one of timm.list_models(), or torchvision/NAME, or choose another backbone."
            )
        if preprocessing.input_size[0] != 3:
            raise ConfigurationBroken(f"{name} takes no images of three channels; choose another backbone.")
        refused = FACTORY_ARGUMENTS & model_args.keys()
        if refused:
            raise ConfigurationBroken(
                f"The model_args of {name} hold {', '.join(sorted(refused))}, which do not describe a network. "
                f"Remove them from its {CONFIG}."
            )
        return cls(name, architecture, model_args, num_classes, cfg, preprocessing)

    def resize_to(self, side: int) -> BackboneConfig:
        """Configure the backbone for images of this longer side, in pixels; the aspect ratio stays.

        A network that knows the positions of its patches gets img_size, and timm interpolates them. Raises
        InputSizeUnsupported, ConfigurationBroken.
        """
        resized = self._at(side)
        if resized.preprocessing == self.preprocessing:
            return self
        reason = resized.explain_unfit_size()
        if reason is not None and self.explain_unfit_size() is None:
            raise self._refuse_size(side, reason, max(LEAST_STEP, get_patch_side(self.outline)))
        return resized

    def _refuse_size(self, side: int, reason: str, step: int) -> InputSizeUnsupported:
        """Refuse images of this longer side, with the nearest multiples of `step` that the network takes."""
        sizes = find_nearest_sizes(side, step, lambda other: self._at(other).explain_unfit_size() is None)
        advice = f"Set image_size to {' or '.join(map(str, sizes))}, or leave" if sizes else "Leave"
        pixels = self.preprocessing.resize_to(side).pixels
        return InputSizeUnsupported(
            f"{self.name} does not take images of {pixels} ({reason}). {advice} it out of the recipe.", sizes
        )

    def _at(self, side: int) -> BackboneConfig:
        preprocessing = self.preprocessing.resize_to(side)
        sizes = list(preprocessing.input_size)
        sized = architectures.get_size_arguments(self.architecture, sizes[1:])
        is_sized = self.pretrained_cfg["fixed_input_size"] or sized.keys() & self.model_args.keys()
        return replace(
            self,
            model_args={**self.model_args, **sized} if is_sized else self.model_args,
            pretrained_cfg={**self.pretrained_cfg, "input_size": sizes},
            preprocessing=preprocessing,
            own=self,
        )

    def explain_unfit_size(self) -> str | None:
        """Explain why the network does not take images of its configuration's size; None if it does."""
        try:
            patch = get_patch_side((self.own or self).outline)
            reason = explain_unfit_size(self.outline, self.preprocessing.input_size, patch)
        except ConfigurationBroken as error:
            return str(error.__cause__)
        if reason is None and self.own is not None and not self._can_interpolate(self.own.outline):
            return "timm does not interpolate what it has learned of positions"
        return reason

    def _can_interpolate(self, own: TimmNetwork) -> bool:
        """Tell whether timm fits the weights of the network at its own size to this configuration, by their shapes."""
        if self.structure.graph is not None:
            return True
        if architectures.is_torchvision(self.architecture):  # these that have positions are interpolated by torchvision
            return True
        cfg = {**self.pretrained_cfg, "state_dict": own.state_dict(), "label_offset": None}
        try:
            self._build(pretrained=True, pretrained_cfg=cfg, num_classes=self.num_classes)
        except ConfigurationBroken as error:
            # Some weights are interpolated by NumPy, which has no shapes without values: loading will tell.
            return "size mismatch" not in str(error.__cause__)
        return True

    def summarize(self, parameters: int) -> BackboneSummary:
        """Summarize the backbone for lists."""
        return BackboneSummary(
            name=self.name,
            source=self.name.split("/")[0],
            architecture=self.structure.original or self.architecture,
            parameters=parameters,
            input_size=self.preprocessing.input_size,
            licence=self.pretrained_cfg.get("license"),
        )

    @cached_property
    def outline(self) -> TimmNetwork:
        """The network without weights, on the meta device, as its library builds it; raises ConfigurationBroken."""
        return self._build(num_classes=self.num_classes)

    def build_without_weights(self) -> TimmNetwork:
        """Build the network on the meta device; raises ConfigurationBroken."""
        return self._build(pretrained_cfg=self.pretrained_cfg)

    def check_weights(self, weights: Path) -> None:
        """Check that a file of weights may hold those of the network, by its header.

        Raises WeightsBroken, WeightsUnfit, ConfigurationBroken.
        """
        stored, needed = count_parameters(self.name, weights), self._count_parameters()
        if stored < WEIGHTS_SHARE * needed:
            raise WeightsUnfit(
                f"The {CONFIG} of {self.name} describes a network of {needed:,} parameters, but its weights hold "
                f"{stored:,}. Correct the architecture or the model_args in its {CONFIG}."
            )

    def load(self, model: str, filename: str, hub_id: str | None = None) -> Backbone:
        """Load the backbone with its weights, which timm finds by the name `model`, or in ORG/REPO@COMMIT of the Hub.

        Raises BackboneTooLarge, WeightsBroken, WeightsUnfit, ConfigurationBroken, InputSizeUnsupported, and all errors
        of the Hub.
        """
        self.check_memory()
        sized = {"img_size": self.model_args["img_size"]} if "img_size" in self.model_args else {}
        overlay = {"hf_hub_filename": filename, **({"hf_hub_id": hub_id} if hub_id else {})}
        try:
            network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **sized)
        except SafetensorError as error:
            raise WeightsBroken(BROKEN.format(name=self.name, error=error)) from error
        except TIMM_ERRORS as error:
            if self.own is not None:
                raise InputSizeUnsupported(
                    f"timm cannot fit the weights of {self.name} to images of {self.preprocessing.pixels}. "
                    "Leave image_size out of the recipe."
                ) from error
            raise WeightsUnfit(f"The weights of {self.name} do not fit its {self.architecture}: {error}") from error
        self._check_that_timm_rebuilds(network)
        if self.own is not None and sized:
            self._check_border(network, self.own)
        own_size = None if self.own is None else self.own.preprocessing.input_size
        return Backbone.from_network(
            self.name, self.architecture, self.model_args, self.pretrained_cfg, network, own_size
        )

    def _check_border(self, network: TimmNetwork, own: BackboneConfig) -> None:
        """Check that a network of patches covers images of this size; raises InputSizeUnsupported."""
        size = self.preprocessing.input_size
        if all(side % COMMON_STEP == 0 for side in size[1:]):
            return
        try:
            reason = "it would see nothing of their border" if ignores_border(network, size) else None
        except Exception as error:  # each architecture raises errors of its own
            reason = _explain(error)
        if reason is not None:
            raise own._refuse_size(self.preprocessing.side, reason, COMMON_STEP)

    def check_memory(self) -> None:
        """Check that this worker has the memory that loading takes; raises BackboneTooLarge."""
        needed, there = int(WORKING_MEMORY * 4 * self._count_parameters()), get_memory_bytes()
        if needed > there:
            raise BackboneTooLarge(
                f"{self.name} needs about {needed / 1e9:.1f} GB of memory; this worker has {there / 1e9:.1f} GB. "
                "Choose a smaller backbone, or raise GRAFT_MEMORY_BYTES where the machine has more."
            )

    def _count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.outline.parameters())

    def _check_that_timm_rebuilds(self, network: TimmNetwork) -> None:
        """Check that timm rebuilds the network from architecture and model_args alone; raises ConfigurationBroken."""
        is_same = network.num_classes == self.num_classes
        rebuilt = self.outline if is_same else self._build(num_classes=network.num_classes)
        if _shapes(rebuilt) != _shapes(network):
            raise ConfigurationBroken(
                f"timm builds no network for the weights of {self.name} from its architecture and model_args alone. "
                f"State in its {CONFIG} how it differs from the default; usually img_size is missing in model_args."
            )

    def _build(self, **arguments: Any) -> TimmNetwork:
        try:
            with limit_construction():
                if self.structure.graph is not None:
                    return graph_file.build(self.structure.graph)
                network = architectures.build(self.architecture, **arguments, **self.model_args)
                with torch.device("meta"):
                    put_layers(network, self.structure.replaced)
        except GraphError as error:
            raise ConfigurationBroken(f"The network of {self.name} cannot be built: {error}") from error
        except Exception as error:  # timm builds what it is told, and any operation of it may raise
            library = architectures.name_library(self.architecture)
            raise ConfigurationBroken(
                f"{library} cannot build the {self.architecture} of {self.name}: {_explain(error)}. "
                f"Correct the model_args in its {CONFIG}."
            ) from error
        return network


def _explain(error: Exception) -> str:
    """Explain an error in one line; many of Python's own say little without their names."""
    if isinstance(error, NetworkTooLarge):
        return str(error)
    if is_out_of_memory(error):
        return "it takes too much memory"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


def _check_text(name: str, text: Any) -> None:
    """Check a text that lists show, which a database must hold."""
    if text is not None and not (isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable()):
        raise ValueError(f"{name} is not a text of at most {MAX_TEXT} characters")


def _shapes(network: TimmNetwork) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
