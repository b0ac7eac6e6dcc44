"""Fine-tune in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones.errors import BackboneError
from models.datasets.pack import Pack
from models.features.trunk import FeaturesNotFinite
from models.messages import Event, Failed, ProgressSaved
from models.networks.tracing import SurgeryError
from models.pipeline.fine_tune import fine_tune
from models.runtime import devices
from models.training.loop import TrainingDiverged
from service.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.pipeline.spec import DatasetSpec, TrainingSpec
    from models.runtime.supervisor_callbacks import Context

PERMANENT = (BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged)
"""Errors that would end the next attempt too."""


def work(spec: TrainingSpec, context: Context) -> Iterator[Event]:
    """Fine-tune, and write the checkpoint into the attempt's folder."""
    scratch = spec.checkpoint.parent
    scratch.mkdir(parents=True, exist_ok=True)
    storage = Storage(spec.storage)
    devices.compute_exactly()

    def open_pack(dataset: DatasetSpec) -> Pack:
        return Pack(storage.local_path(dataset.pack, scratch), storage.local_path(dataset.index, scratch))

    other_pack = None if spec.other_dataset is None else open_pack(spec.other_dataset)
    try:
        with devices.translate_errors():
            for event in fine_tune(spec, open_pack(spec.dataset), context, other_pack):
                yield event
                if isinstance(event, ProgressSaved) and context.snapshot_requested():
                    return
    except PERMANENT as error:
        yield Failed(code=error.code, message=str(error))
