"""The architecture that a user names for weights: one of timm's, with or without its tag, or torchvision/NAME."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import timm
from timm.models import get_pretrained_cfg
from torchvision import models

from models.backbones import torchvision_hub, torchvision_networks
from models.backbones.architectures import is_known, is_torchvision
from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

FACTS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")


@dataclass(frozen=True)
class NamedArchitecture:
    """An architecture, and what its library says of the networks that it publishes."""

    name: str
    """timm's name without a tag, or torchvision/NAME."""
    cfg: dict[str, Any]
    """Configuration in timm's words, of the tag that was named, or of the default one."""
    has_tag: bool
    """Whether the user has named published weights, with which preprocessing and licence are known."""
    classifiers: tuple[str, ...]
    """Paths of the classifier's layers in a file."""

    @property
    def side(self) -> int:
        """Side of the images of the published networks, in pixels."""
        return int(self.cfg["input_size"][1])

    @property
    def preprocessing(self) -> PreprocessingFacts:
        """The preprocessing of the published networks."""
        values: Mapping[str, Any] = {fact: self.cfg.get(fact) for fact in FACTS}
        mean, std = (tuple(values[fact]) for fact in ("mean", "std"))
        return PreprocessingFacts(**{**values, "mean": mean, "std": std, "channel_order": "rgb"})


def find_architecture(given: str) -> NamedArchitecture:
    """Find the architecture of a name; raises ImportRejected with the nearest names."""
    wanted = given.removeprefix("timm/")
    name, _, tag = wanted.partition(".")
    if not is_known(name):
        known = [
            *timm.list_models(),
            *(f"{torchvision_networks.PREFIX}{one}" for one in torchvision_networks.list_names()),
        ]
        near = get_close_matches(name, known, 3)
        raise ImportRejected(
            "architecture_unknown",
            f"There is no architecture {given!r:.100} in timm {timm.__version__} or torchvision"
            + (f"; near it are {', '.join(near)}." if near else ".")
            + " Name one of timm.list_models(), or torchvision/NAME.",
        )
    return _of_torchvision(name, tag) if is_torchvision(name) else _of_timm(name, tag)


def _of_torchvision(name: str, tag: str) -> NamedArchitecture:
    enum = models.get_model_weights(name.removeprefix(torchvision_networks.PREFIX))
    if tag and tag not in enum.__members__:
        raise ImportRejected(
            "architecture_unknown",
            f"torchvision's {name} has no weights {tag!r:.100}; it has {', '.join(enum.__members__)}.",
        )
    config = torchvision_hub.read_config(f"{name}.{tag}" if tag else name)
    classifiers = torchvision_networks.find_classifiers(name)
    return NamedArchitecture(name, config.pretrained_cfg, bool(tag), tuple(classifiers))


def _of_timm(name: str, tag: str) -> NamedArchitecture:
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ImportRejected(
            "architecture_unknown",
            f"timm's {name} has no weights {tag!r:.100}; it has {', '.join(tags[:8]) or 'none'}. The name without "
            "a tag stands for the architecture alone.",
        )
    cfg = get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    found: dict[str, Any] = {} if cfg is None else cfg.to_dict()
    classifier = found.get("classifier") or ()
    found.setdefault("input_size", (3, 224, 224))
    found.setdefault("mean", timm.data.IMAGENET_DEFAULT_MEAN)
    found.setdefault("std", timm.data.IMAGENET_DEFAULT_STD)
    return NamedArchitecture(
        name, found, bool(tag), (classifier,) if isinstance(classifier, str) else tuple(classifier)
    )
