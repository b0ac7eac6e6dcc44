"""Training loop of a whole backbone: pretraining that resumes after any step with the same numbers."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.catalog.optimizers import AdamW
from models.catalog.schedules import Cosine
from models.features.engines.normalize import Normalize
from models.features.rendering import render_images
from models.images.views import Views
from models.pretraining.messages import EpochPretrained
from models.runtime.rng import get_random_state, seed_epoch, set_random_state
from models.runtime.supervisor_callbacks import no_heartbeat
from models.training.loop import Step, TrainingDiverged
from models.training.step import align_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.catalog.backbone_pretraining import BackboneMethod
    from models.datasets.pack import Pack
    from models.images.preprocessing import Preprocessing
    from models.pretraining.backbone_objectives import Objective

WARMUP_SHARE = 0.1
"""Share of the epochs in which the learning rate warms up."""


@dataclass(frozen=True)
class Images:
    """Images that a backbone is pretrained on."""

    pack: Pack
    chosen: np.ndarray
    """Their numbers in the pack, (n,)."""
    preprocessing: Preprocessing


class BackboneTraining:
    """Minimizes an objective over the images: iterate over `train()`."""

    def __init__(
        self,
        method: BackboneMethod,
        objective: Objective,
        images: Images,
        seed: int,
        device: torch.device,
        heartbeat: Callable[[], None] = no_heartbeat,
    ) -> None:
        """Start before the first step; `objective` is on the device, with gradients where weights are trained."""
        self.method, self.objective, self.images, self._seed = method, objective, images, seed
        self._device, self._heartbeat = device, heartbeat
        self._views = Views(images.preprocessing, method.list_augmentations())
        self._normalize = Normalize(images.preprocessing).to(device)
        self._labels = torch.from_numpy(images.pack.labels)
        trained = [each for each in objective.parameters() if each.requires_grad]
        decayed, others = ([each for each in trained if (each.ndim > 1) == is_matrix] for is_matrix in (True, False))
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self._parameters = decayed + others
        self._optimizer = AdamW(lr=method.lr, weight_decay=method.weight_decay).build(groups)
        self._schedule = Cosine(warmup_epochs=WARMUP_SHARE * method.epochs)
        self.losses: list[float] = []
        """Mean loss of each completed epoch."""
        self.steps_done = 0
        """Steps of the running epoch that are done."""
        self._loss_sum = 0.0
        self._random_state: dict[str, torch.Tensor] | None = None
        """The random state within a resumed epoch."""

    @property
    def batch_size(self) -> int:
        """Images in a step: the method's, or all where there are fewer."""
        return min(self.method.batch_size, len(self.images.chosen))

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.images.chosen) // self.batch_size

    def train(self) -> Iterator[Step | EpochPretrained]:
        """Train the epochs that are left. Raises TrainingDiverged."""
        self.objective.zero_grad(set_to_none=True)
        while len(self.losses) < self.method.epochs:
            began = time.monotonic()
            yield from self._train_epoch(len(self.losses) + 1)
            self.losses.append(self._loss_sum / self.steps)
            self.steps_done, self._loss_sum = 0, 0.0
            epoch, lr = len(self.losses), self._optimizer.param_groups[0]["lr"]
            yield EpochPretrained(epoch=epoch, loss=self.losses[-1], lr=lr, seconds=time.monotonic() - began)

    def state_dict(self) -> dict[str, Any]:
        """State to resume from, after any step; its tensors are shared, not copied."""
        moments = self._optimizer.state_dict()["state"]
        return {
            "objective": self.objective.state_dict(),
            "moments": {str(place): dict(values) for place, values in moments.items()},
            "losses": self.losses,
            "steps_done": self.steps_done,
            "loss_sum": self._loss_sum,
            "random_state": get_random_state(self._device) if self.steps_done else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self.objective.load_state_dict(state["objective"])
        moments = {
            int(place): {name: align_moment(value, self._parameters[int(place)]) for name, value in values.items()}
            for place, values in state["moments"].items()
        }
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        self.losses, self.steps_done = list(state["losses"]), state["steps_done"]
        self._loss_sum, self._random_state = state["loss_sum"], state["random_state"]

    def _train_epoch(self, epoch: int) -> Iterator[Step]:
        seed_epoch(self._seed, epoch)
        size = self.batch_size
        order = self.images.chosen[torch.randperm(len(self.images.chosen)).numpy()][: self.steps * size]
        if self._random_state is not None:
            set_random_state(self._random_state, self._device)
            self._random_state = None
        left = order[self.steps_done * size :]
        views = range((epoch - 1) * self.method.views + 1, epoch * self.method.views + 1)
        walks = [render_images(self.images.pack, self._views, left, view, size, self._heartbeat) for view in views]
        for rendered in zip(*walks, strict=True):
            batch = rendered[0][0]
            pixels = torch.from_numpy(np.concatenate([pixels for _, pixels in rendered])).to(self._device)
            self._step(epoch, self._normalize(pixels), self._labels[batch].to(self._device))
            yield Step(len(batch), len(batch))

    def _step(self, epoch: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        time_in_epochs = epoch - 1 + (self.steps_done + 1) / self.steps
        factor = self._schedule.compute_factor(time_in_epochs, self.method.epochs, ())
        for group in self._optimizer.param_groups:
            group["lr"] = self.method.lr * factor
        loss = self.objective.compute_loss(images, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"The loss became {value} in epoch {epoch} of the pretraining: set method.lr to less than "
                f"{self.method.lr:g}."
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.steps_done += 1
        self._loss_sum += value
