"""A teacher: a checkpoint whose logits of the training images, through the feature cache, are distilled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from models import backbones
from models.backbones.pretrained_classifier import ClassesDiffer, read_class_names
from models.features.extractor import Extractor
from models.networks.cut_network import CutNetwork
from models.networks.feature_network import FrozenNetwork, state_digest
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from models.datasets.pack import Pack
    from models.features.cache import FeatureCache
    from models.features.sources import FeatureSource

NAMES_SHOWN = 5


@dataclass(frozen=True)
class Teacher:
    """A checkpoint's network with a pack's images."""

    logits: FeatureSource
    """Logits of the plain views, in the order of the checkpoint's classes."""
    order: list[int]
    """Positions of the dataset's classes among the checkpoint's."""

    @classmethod
    def load(
        cls,
        name: str,
        folder: Path | None,
        classes: Sequence[str],
        pack: Pack,
        device: torch.device,
        cache: FeatureCache,
        heartbeat: Callable[[], None],
    ) -> Teacher:
        """Load the checkpoint `name` from the folder of its file, to compute logits of a pack's images.

        Always eagerly in float32, so that a resumed job has the same logits, and cached whatever the recipe caches.
        Raises ClassesDiffer, BackboneError.
        """
        loaded = backbones.load(name, None, folder=folder)
        known = read_class_names(loaded)
        missing, surplus = ([*map(str, names)] for names in (set(classes) - set(known), set(known) - set(classes)))
        if missing or surplus:
            raise ClassesDiffer(
                f"The teacher {name} must have the dataset's classes: it lacks {_list(missing)}, and has "
                f"{_list(surplus)} that the dataset lacks. Choose another distillation.teacher."
            )
        whole = CutNetwork(
            trunk=FrozenNetwork(as_module(loaded.network)),
            top=nn.Identity(),
            cut="logits",
            shape=(len(known),),
            digest=state_digest({}, {"network": loaded.digest, "checkpoint": name}),
        )
        extractor = Extractor(whole, loaded.preprocessing, device, cache, heartbeat)
        return cls(extractor.open_source(pack, ()), [known.index(name) for name in classes])

    def compute_logits(self, images: np.ndarray) -> torch.Tensor:
        """Read or compute the logits (n, C) of images, in the order of the dataset's classes."""
        rows = [torch.from_numpy(rows) for _, rows in self.logits.read_batches(images, 0, self.logits.read_batch_size)]
        return torch.cat(rows).float()[:, self.order]


def _list(names: Sequence[str]) -> str:
    shown = sorted(names)[:NAMES_SHOWN]
    return ", ".join([*shown, *(["…"] if len(names) > len(shown) else [])]) or "none"
