"""The trainable model: the backbone's stages above the cut, and a head on their standardized features."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.features.sources import forward_plain_views
from models.features.standardization import Standardization
from models.nn.low_rank import LowRankUpdate, merge_after_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from models.catalog.recipe import Recipe, ResolvedRecipe
    from models.catalog.tuning import Tuning
    from models.features.sources import FeatureSource
    from models.networks.cut_network import CutNetwork, TrainedStage
    from models.nn.head import HeadModule


class TrainableModel(nn.Module):
    """logits = head(standardized top(rows)); the standardization is that of the top before its first step."""

    def __init__(
        self,
        cut_network: CutNetwork,
        head: HeadModule,
        standardize: Standardization,
        updates: Mapping[str, LowRankUpdate] | None = None,
        *,
        is_mixed: bool = False,
    ) -> None:
        """Join the parts of the model.

        Args:
            cut_network: whose top the head stands on.
            head: on standardized features.
            standardize: of the top's output.
            updates: what is trained instead of weights of the stages, by their names.
            is_mixed: the top computes in bfloat16 while it is trained (Micikevicius et al., 2018).
        """
        super().__init__()
        self.cut_network, self.top, self.head, self.standardize = cut_network, cut_network.top, head, standardize
        self.updates = dict(updates or {})
        self.low_rank = nn.ModuleList(self.updates.values())
        self.top.to(memory_format=torch.channels_last)
        self.is_mixed = is_mixed

    @classmethod
    def from_recipe(
        cls,
        recipe: ResolvedRecipe,
        num_classes: int,
        cut_network: CutNetwork,
        source: FeatureSource,
        images: np.ndarray,
        kept: tuple[torch.Tensor, torch.Tensor] | None = None,
        standardize: Standardization | None = None,
    ) -> TrainableModel:
        """Build the recipe's head over a cut network, before its first step.

        Args:
            recipe: whose head is built, initialized from its seed.
            num_classes: outputs of the head.
            cut_network: whose top the head stands on.
            source: of features.
            images: over whose plain views features are standardized.
            kept: the backbone's own classifier (W, b), for the head to start from.
            standardize: the standardization, where it is known already.
        """
        cut_network.top.to(source.trunk.device).eval()
        if standardize is None:
            standardize = Standardization.from_batches(forward_plain_views(cut_network.top, source, images))
        torch.manual_seed(recipe.seed)
        head = recipe.head.build(len(standardize.mean), num_classes)
        if kept is not None:
            weight, bias = standardize.unfold(*kept)
            head.output.load_state_dict({"weight": weight, "bias": bias})
        device = source.trunk.device if cut_network.stages else torch.device("cpu")
        is_mixed = bool(cut_network.stages) and recipe.precision == "bfloat16"
        updates = _build_updates(cut_network, recipe.tuning)
        return cls(cut_network, head.to(device), standardize.to(device), updates, is_mixed=is_mixed)

    @property
    def device(self) -> torch.device:
        """Device of the head: a GPU only if stages are trained too, since a head's own steps are too small for one."""
        return self.standardize.mean.device

    @property
    def needs_two(self) -> bool:
        """True if a batch needs at least two images: BatchNorm in training finds no variance in one."""
        return any(isinstance(module, _BatchNorm) and module.training for module in self.modules())

    @property
    def regularized_weights(self) -> list[nn.Parameter]:
        """The weights that regularizers keep small: those of the head, without biases and norms."""
        return [parameter for parameter in self.head.parameters() if parameter.ndim > 1]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Set evaluation mode, BatchNorm's statistics included, until the `with` block ends."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def forward_features(self, rows: torch.Tensor) -> torch.Tensor:
        """Compute standardized features (B, num_features) from values at the cut."""
        if rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=self.is_mixed):
            output = self.top(rows)
        features: torch.Tensor = self.standardize(output.float().to(self.device))
        return features

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C) from values at the cut."""
        logits: torch.Tensor = self.head(self.forward_features(rows))
        return logits

    def compute_features(self, source: FeatureSource, images: np.ndarray) -> torch.Tensor:
        """Compute standardized features of the plain views of images, (n, num_features)."""
        features = forward_plain_views(self.top, source, images)
        return torch.cat([self.standardize(batch.to(self.device)) for batch in features])

    def start_epoch(self, recipe: Recipe, epoch: int) -> None:
        """Unfreeze what the recipe trains in this epoch (1, 2, …), and freeze all else."""
        self.head.train()
        unfrozen, norms_train = 0, False
        if recipe.cut.kind != "all":
            unfrozen = recipe.cut.count_unfrozen(epoch, len(self.cut_network.stages))
            norms_train = recipe.cut.batch_norm == "trained"
        self.cut_network.set_modes(unfrozen, norms_train)

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Group parameters by learning rate: the head, then the stages from the top."""
        rate = recipe.optimizer.rate
        groups = [{"params": list(self.head.parameters()), "lr": rate}]
        if recipe.cut.kind != "all":
            for depth, stage in enumerate(self.cut_network.stages):
                lr = rate * recipe.cut.scale_lr(depth) * recipe.tuning.lr_scale
                groups.append({"params": list(self._find_trained(stage)), "lr": lr})
        return groups

    def build_optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """Build the recipe's optimizer of all that is trained."""
        optimizer = recipe.optimizer.build(self.parameter_groups(recipe))
        merge_after_steps(optimizer, list(self.updates.values()))
        return optimizer

    def _find_trained(self, stage: TrainedStage) -> Iterator[nn.Parameter]:
        """Find the parameters of a stage that are trained in some epoch, or updates in their places."""
        norms = {
            id(own) for module in self.top.modules() if isinstance(module, _BatchNorm) for own in module.parameters()
        }
        for name, parameter in stage.parameters.items():
            if name in self.updates:
                yield from self.updates[name].parameters()
            elif name not in stage.unselected or id(parameter) in norms:
                yield parameter

    def copy_state(self) -> dict[str, torch.Tensor]:
        """Copy everything that training changes."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}


def _build_updates(cut_network: CutNetwork, tuning: Tuning) -> dict[str, LowRankUpdate]:
    """Build the low-rank updates of a tuning, by the names of their weights."""
    updates = {}
    for stage in cut_network.stages:
        for name, parameter in stage.parameters.items():
            if name not in stage.unselected and (update := tuning.build_update(parameter)) is not None:
                updates[name] = update
    return updates
