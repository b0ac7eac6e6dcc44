"""What is trained: the backbone's stages above the cut, and the head on their standardized features."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.catalog.heads import Keep
from models.features.sources import forward_plain_views
from models.features.standardization import Standardization

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.networks.cut_network import CutNetwork


class TrainableModel(nn.Module):
    """logits = head(standardized top(rows)); the standardization is that of the top before its first step."""

    def __init__(
        self, cut_network: CutNetwork, head: nn.Sequential, standardize: Standardization, *, is_mixed: bool = False
    ) -> None:
        """Where `is_mixed`, the top computes in bfloat16 as long as it is trained (Micikevicius et al., 2018)."""
        super().__init__()
        self.cut_network, self.top, self.head, self.standardize = cut_network, cut_network.top, head, standardize
        self.top.to(memory_format=torch.channels_last)
        self.is_mixed = is_mixed

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        num_classes: int,
        cut_network: CutNetwork,
        source: FeatureSource,
        images: np.ndarray,
        kept: tuple[torch.Tensor, torch.Tensor] | None = None,
        standardize: Standardization | None = None,
    ) -> TrainableModel:
        """With a new head of a resolved recipe, standardized over the plain views of `images`, or as is known.

        `kept` is the backbone's own classifier (W, b), for a head that keeps it.
        """
        cut_network.top.to(source.trunk.device).eval()
        if standardize is None:
            standardize = Standardization.of(forward_plain_views(cut_network.top, source, images))
        torch.manual_seed(recipe.seed)
        head = recipe.head.build(len(standardize.mean), num_classes)
        if isinstance(recipe.head, Keep):
            assert kept is not None
            weight, bias = standardize.unfold(*kept)
            head[-1].load_state_dict({"weight": weight, "bias": bias})
        device = source.trunk.device if cut_network.stages else torch.device("cpu")
        is_mixed = bool(cut_network.stages) and recipe.precision == "bfloat16"
        return cls(cut_network, head.to(device), standardize.to(device), is_mixed=is_mixed)

    @property
    def device(self) -> torch.device:
        """Where the head lies: its steps are too small to be worth a journey to another device."""
        return self.standardize.mean.device

    @property
    def needs_two(self) -> bool:
        """Whether BatchNorm learns, which may find no variance in a batch of one image."""
        return any(isinstance(module, _BatchNorm) and module.training for module in self.modules())

    @contextmanager
    def still(self) -> Iterator[None]:
        """For a while nothing learns, not even BatchNorm's statistics."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def features(self, rows: torch.Tensor) -> torch.Tensor:
        """Standardized features (B, num_features) of what the cut gives."""
        if rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=self.is_mixed):
            said = self.top(rows)
        features: torch.Tensor = self.standardize(said.float().to(self.device))
        return features

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of what the cut gives."""
        logits: torch.Tensor = self.head(self.features(rows))
        return logits

    def sample(self, source: FeatureSource, images: np.ndarray) -> torch.Tensor:
        """Standardized features of the plain views of images, (n, num_features)."""
        features = forward_plain_views(self.top, source, images)
        return torch.cat([self.standardize(batch.to(self.device)) for batch in features])

    def start_epoch(self, recipe: Recipe, epoch: int) -> None:
        """Have learn what learns in this epoch (1, 2, …)."""
        self.head.train()
        unfrozen, norms_train = 0, False
        if recipe.cut.kind != "all":
            unfrozen = recipe.cut.count_unfrozen(epoch, len(self.cut_network.stages))
            norms_train = recipe.cut.batch_norm == "trained"
        self.cut_network.set_modes(unfrozen, norms_train)

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """What the optimizer moves, each group with its learning rate: the head, then the stages from the top."""
        rate = recipe.optimizer.rate
        groups = [{"params": list(self.head.parameters()), "lr": rate}]
        if recipe.cut.kind != "all":
            for depth, stage in enumerate(self.cut_network.stages):
                groups.append({"params": list(stage.parameters.values()), "lr": rate * recipe.cut.scale_lr(depth)})
        return groups

    def weights(self) -> list[nn.Parameter]:
        """What regularizers keep small: the weights of the head."""
        return [parameter for parameter in self.head.parameters() if parameter.ndim > 1]

    def learned(self) -> dict[str, torch.Tensor]:
        """A copy of all that training changes."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
