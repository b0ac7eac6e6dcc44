"""Pretrain a backbone in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.datasets.pack import Pack
from models.messages import Failed, ProgressSaved
from models.pipeline.pretrain_backbone import PretrainingImpossible, pretrain_backbone
from models.runtime import devices
from service.storage import Storage
from workers.entrypoints.training import PERMANENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.pipeline.spec import PretrainingSpec
    from models.pretraining.messages import PretrainingEvent
    from models.runtime.supervisor_callbacks import Context


def work(spec: PretrainingSpec, context: Context) -> Iterator[PretrainingEvent]:
    """Pretrain, and write the new backbone's files into the attempt's folder."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    scratch, storage = spec.folder.parent, Storage(spec.storage)
    devices.compute_exactly()
    paths = (storage.local_path(key, scratch) for key in (spec.dataset.pack, spec.dataset.index))
    try:
        with devices.translate_errors():
            for event in pretrain_backbone(spec, Pack(*paths), context):
                yield event
                if isinstance(event, ProgressSaved) and context.snapshot_requested():
                    return
    except (*PERMANENT, PretrainingImpossible) as error:
        yield Failed(code=error.code, message=str(error))
