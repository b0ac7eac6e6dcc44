"""Load a network of transformers with all of its weights, and choose which of its outputs is taken.

transformers draws by chance what a file of weights lacks, and only logs it. Here it is an error, but for layers that
are left out of the network anyway.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.conversion.errors import ExtraMissing, FileBroken, ModelTooLarge, UnsupportedModel
from models.conversion.torch_export import Wrapper
from models.networks.construction import NetworkTooLarge, limit_construction
from models.runtime.memory import get_memory_bytes

if TYPE_CHECKING:
    from models.conversion.transformers_files import TransformersFolder

WORKING_MEMORY = 1.5
"""Memory that reading a network takes, as a multiple of its parameters' in float32."""
HARMLESS = re.compile(r"(^|\.)(mask_token|position_ids|relative_position_index|inv_freq|num_batches_tracked)$")
"""Tensors that files may hold beside the network's: computed anew, or of a pretraining."""
NAMES_SHOWN = 5


@dataclass
class LoadedNetwork:
    """A network of transformers, in a wrapper that gives logits or features."""

    wrapper: _Logits
    config: Any
    """The configuration of the network, or of its vision tower."""
    has_classifier: bool
    notes: list[str] = field(default_factory=list)


class _Logits(Wrapper):
    """The logits of a classifier."""

    def __init__(self, network: nn.Module, arguments: dict[str, Any]) -> None:
        super().__init__(network)
        self.arguments = arguments
        self.is_bgr = False
        """Whether the network takes blue, green and red, though images have red, green and blue."""

    def run(self, images: torch.Tensor) -> Any:
        """Run the network."""
        return self.network(pixel_values=images.flip(1) if self.is_bgr else images, **self.arguments)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C), or what the classifier would read (B, D), of images (B, 3, H, W)."""
        output = self.run(images)
        logits: torch.Tensor = output.logits if "logits" in output else output.last_hidden_state  # PP-LCNet's name
        return logits if logits.ndim == 2 else logits.flatten(1)


class _PoolerFeatures(_Logits):
    """The pooled output of a network without classifier."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features (B, D) of images (B, 3, H, W)."""
        features: torch.Tensor = self.run(images).pooler_output
        return features.flatten(1)


class _Mean(_Logits):
    """The mean of a network's last tokens (B, N, D), or of its last map (B, D, H, W)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features (B, D) of images (B, 3, H, W)."""
        last: torch.Tensor = self.run(images).last_hidden_state
        return last.mean(1) if last.ndim == 3 else last.flatten(2).mean(2)


class _Patches(_Logits):
    """Gives the patches of square images to a network that takes images of any shape as patches (SigLIP 2, NaFlex)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C) or features (B, D) of images (B, 3, H, W)."""
        side = self.arguments["patch_size"]
        high, wide = images.shape[2] // side, images.shape[3] // side
        patches = (
            images.reshape(-1, 3, high, side, wide, side)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(-1, high * wide, 3 * side**2)
        )
        mask = torch.ones(images.shape[0], high * wide, dtype=torch.int64)
        shapes = torch.tensor([[high, wide]]).expand(images.shape[0], 2)
        output = self.network(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)
        features: torch.Tensor = output.logits if hasattr(output, "logits") else output.pooler_output
        return features


@torch.no_grad()
def load(files: TransformersFolder) -> LoadedNetwork:
    """Load a network in float32, strictly. Raises ConversionError."""
    try:
        import transformers
    except ImportError as error:
        raise ExtraMissing.of("transformers") from error
    config = _read_config(transformers, files)
    auto = transformers.models.auto.modeling_auto
    named = [name for name in config.architectures or [] if "ForImageClassification" in name]
    if named:
        return _load_classifier(files, config, _get_class(transformers, named[0]))
    if hasattr(config, "vision_config"):
        tower = config.vision_config
        return _load_tower(files, tower, _find_tower_class(transformers, tower))
    if config.model_type.endswith("vision_model"):
        return _load_tower(files, config, _find_tower_class(transformers, config))
    if config.model_type == "vit_mae":  # a ViT, whose pretraining hides most patches; its own code would do so here
        config = transformers.ViTConfig.from_dict({**config.to_dict(), "model_type": "vit", "architectures": None})
    if type(config) in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return _load_headless(files, config, auto)
    if type(config) in auto.MODEL_FOR_IMAGE_MAPPING:
        return _load_base(files, config, auto)
    raise UnsupportedModel(
        f"{config.model_type} is neither an image classifier nor a vision tower of transformers. Send one that is, or "
        "export the part that takes images as ONNX and send that file."
    )


def _read_config(transformers: Any, files: TransformersFolder) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each architecture checks its configuration in its own way
        model_type = files.config["model_type"]
        if model_type not in transformers.models.auto.configuration_auto.CONFIG_MAPPING:
            raise UnsupportedModel(
                f"transformers {transformers.__version__} has no architecture {model_type!r:.100}. Export the model as "
                "ONNX and send that file, or have transformers updated on this server."
            ) from error
        raise FileBroken(f"The config.json is no configuration of a {model_type}: {_shorten(error)}.") from error


def _get_class(transformers: Any, name: str) -> Any:
    found = getattr(transformers, name, None)
    if found is None:
        raise UnsupportedModel(f"transformers {transformers.__version__} has no {name:.100}. Export the model as ONNX.")
    return found


def _find_tower_class(transformers: Any, config: Any) -> Any:
    """Find the class of a vision tower, which for some stands in no mapping of transformers."""
    mapping = transformers.models.auto.modeling_auto.MODEL_MAPPING
    named = getattr(transformers, type(config).__name__.replace("Config", "Model"), None)
    return _look_up(mapping, config) if type(config) in mapping or named is None else named


def _look_up(mapping: Any, config: Any) -> Any:
    """Look up the class of a configuration's network; the first, where there are several."""
    try:
        found = mapping[type(config)]
    except KeyError as error:
        raise UnsupportedModel(
            f"transformers has no network for a {type(config).__name__} alone. Export the part that takes images."
        ) from error
    return found[0] if isinstance(found, tuple | list) else found


def _load_classifier(files: TransformersFolder, config: Any, network_class: Any) -> LoadedNetwork:
    network, missing, unexpected = _load(files, config, network_class)
    _check_missing(missing)
    left = _check_unexpected(unexpected)
    return LoadedNetwork(_Logits(network, {}), config, has_classifier=True, notes=left)


def _load_tower(files: TransformersFolder, config: Any, network_class: Any) -> LoadedNetwork:
    """Load a vision tower, out of a model with a text tower too."""
    network, missing, unexpected = _load(files, config, network_class)
    _check_missing(missing)
    others = {name for name in unexpected if "vision" not in name.split(".")[0] or "projection" in name}
    left = _check_unexpected(unexpected - others)
    notes = [
        f"The features are the pooled output of the vision tower ({type(network).__name__}), which its pretraining "
        "compares with texts, before it is projected.",
        *left,
    ]
    if others:
        parts = ", ".join(sorted({name.split(".")[0] for name in others}))
        notes.append(f"Left out, as it does not belong to the vision tower: {parts} ({len(others)} tensors).")
    return LoadedNetwork(_PoolerFeatures(network, {}), config, has_classifier=False, notes=notes)


def _load_headless(files: TransformersFolder, config: Any, auto: Any) -> LoadedNetwork:
    """Load a network without classifier in transformers' classifier, and take the classifier away."""
    network, missing, unexpected = _load(files, config, _look_up(auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config))
    base = network.base_model_prefix
    heads = {name.split(".")[0] for name in missing if not name.startswith(f"{base}.")}
    if any(name.startswith(f"{base}.pooler") for name in missing):  # pretrained without what the classifier reads
        return _load_base(files, config, auto)
    _check_missing({name for name in missing if name.startswith(f"{base}.")})
    for head in heads:
        setattr(network, head, nn.Identity())
    others = {name for name in unexpected if not _is_of_base(name, base, network, files.tensors)}
    left = _check_unexpected(unexpected - others)
    notes = [f"The features are what the classifier of {type(network).__name__} reads.", *left]
    if others:
        notes.append(f"Left out: {_list(others)}.")
    return LoadedNetwork(_Logits(network, {}), config, has_classifier=not heads, notes=notes)


def _load_base(files: TransformersFolder, config: Any, auto: Any) -> LoadedNetwork:
    """Load a network that transformers has no classifier for."""
    network, missing, unexpected = _load(files, config, _look_up(auto.MODEL_FOR_IMAGE_MAPPING, config))
    _check_missing({name for name in missing if not name.startswith("pooler.")})
    others = {name for name in unexpected if not _is_of_base(name, network.base_model_prefix, network, files.tensors)}
    left = _check_unexpected(unexpected - others)
    if others:
        left.append(f"Left out: {_list(others)}.")
    if missing:
        note = "The features are the mean of the last layer's tokens: the weights hold no pooling."
        return LoadedNetwork(_Mean(network, {}), config, has_classifier=False, notes=[note, *left])
    note = f"The features are the pooled output of {type(network).__name__}."
    return LoadedNetwork(_PoolerFeatures(network, {}), config, has_classifier=False, notes=[note, *left])


def _is_of_base(name: str, base: str, network: nn.Module, tensors: set[str]) -> bool:
    """Tell whether a tensor that has no place lies inside the parts that the network has, and not in another head."""
    has_heads = any(tensor.startswith(f"{base}.") for tensor in tensors)
    if has_heads and not name.startswith(f"{base}.") and f"{base}.{name}" not in tensors:
        return False
    first = name.removeprefix(f"{base}.").split(".")[0]
    part = getattr(network, base, network)
    return first in dict(part.named_children()) and first != "pooler"


def _load(files: TransformersFolder, config: Any, network_class: Any) -> tuple[Any, set[str], set[str]]:
    """Load weights; returns the network, and the names of tensors that are missing and that have no place."""
    _check_memory(config, network_class)
    try:
        network, found = network_class.from_pretrained(
            files.folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as error:  # transformers has no errors of its own
        raise FileBroken(
            f"The weights do not fit the {network_class.__name__} of the config.json: {_shorten(error)}. "
            "Send the config.json and the weights that belong together."
        ) from error
    if found["mismatched_keys"] or found["error_msgs"]:
        names = _list({str(entry) for entry in found["mismatched_keys"]} or set(found["error_msgs"]))
        raise FileBroken(f"The weights do not fit the {network_class.__name__} of the config.json: {names}.")
    return network.eval(), set(found["missing_keys"]), set(found["unexpected_keys"])


def _check_memory(config: Any, network_class: Any) -> None:
    """Count the parameters on the meta device, where they take no memory; raises ModelTooLarge."""
    try:
        with torch.device("meta"), limit_construction():
            outline = network_class(config)
    except NetworkTooLarge as error:
        raise ModelTooLarge(f"The network of the config.json is larger than any that is known: {error}.") from error
    except Exception as error:  # each architecture raises errors of its own
        raise FileBroken(f"No {network_class.__name__} can be built of the config.json: {_shorten(error)}.") from error
    needed = int(WORKING_MEMORY * 4 * sum(parameter.numel() for parameter in outline.parameters()))
    there = get_memory_bytes()
    if needed > there:
        raise ModelTooLarge(
            f"The network needs about {needed / 1e9:.1f} GB of memory; there is {there / 1e9:.1f} GB. Choose a smaller "
            "one, or raise GRAFT_MEMORY_BYTES where the machine has more."
        )


def _check_missing(missing: set[str]) -> None:
    if missing:
        raise FileBroken(
            f"The weights lack {_list(missing)}, which the config.json asks for; transformers would draw them by "
            "chance. Send the config.json and the weights that belong together."
        )


def _check_unexpected(unexpected: set[str]) -> list[str]:
    """Check that tensors without a place are none that matter; returns notes about them."""
    harmless = {name for name in unexpected if HARMLESS.search(name)}
    strange = unexpected - harmless
    if strange:
        raise FileBroken(
            f"The weights hold {_list(strange)}, which the network of the config.json has no place for. Send the "
            "config.json and the weights that belong together."
        )
    return [f"Left out: {_list(harmless)}."] if harmless else []


def _list(names: set[str]) -> str:
    shown = sorted(names)[:NAMES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shorten(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def fit_to(loaded: LoadedNetwork, size: tuple[int, int, int], own: tuple[int, int] | None) -> None:
    """Have the network take images of this size (3, H, W), where `own` (H, W) is the one that it is made for."""
    network = loaded.wrapper.network
    parameters = inspect.signature(network.forward).parameters
    if "spatial_shapes" in parameters:
        side = (
            loaded.config.patch_size if hasattr(loaded.config, "patch_size") else loaded.config.vision_config.patch_size
        )
        loaded.wrapper = _Patches(network, {"patch_size": side})
    elif "interpolate_pos_encoding" in parameters and own not in (None, size[1:]):
        loaded.wrapper.arguments["interpolate_pos_encoding"] = True
