"""What the child of a job does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones.errors import BackboneError
from models.datasets.pack import Pack
from models.features.cache import FeatureCache
from models.features.trunk import FeaturesNotFinite
from models.messages import Event, Failed, ProgressSaved
from models.networks.tracing import SurgeryError
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import Assignment
from models.pipeline.training_state import Pace
from models.runtime import devices
from models.training.loop import TrainingDiverged
from service.storage import Storage
from workers.child_process import drain_requested, stop_requested
from workers.work.training import CHECKPOINT, TrainingOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

HOPELESS = (BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged)
"""What would happen again at the next attempt."""


def work(order: TrainingOrder) -> Iterator[Event]:
    """Fine-tune, and leave the checkpoint in the attempt's folder."""
    order.scratch.mkdir(parents=True, exist_ok=True)
    storage = Storage(order.storage)
    devices.compute_exactly()
    other = order.other

    def opened(pack: str, index: str) -> Pack:
        return Pack(storage.local_path(pack, order.scratch), storage.local_path(index, order.scratch))

    assignment = Assignment(
        job=order.job,
        pack=opened(order.pack, order.index),
        classes=order.classes,
        dataset_digest=order.dataset_digest,
        backbone=order.backbone,
        backbones=order.backbones,
        recipe=order.recipe,
        device=devices.choose(order.device),
        cache=FeatureCache(order.cache, order.cache_bytes),
        checkpoint=order.scratch / CHECKPOINT,
        other=None if other is None else opened(other.pack, other.index),
        other_classes=() if other is None else other.classes,
        pace=Pace(order.snapshot_seconds, drain_requested.is_set),
        snapshot=order.snapshot,
        is_stopped=stop_requested.is_set,
    )
    try:
        with devices.translate_errors():
            for event in fine_tune(assignment):
                yield event
                if isinstance(event, ProgressSaved) and drain_requested.is_set():
                    return
    except HOPELESS as error:
        yield Failed(code=error.code, message=str(error))
