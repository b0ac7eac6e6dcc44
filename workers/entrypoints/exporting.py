"""Export a checkpoint in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones.errors import BackboneError
from models.datasets.pack import Pack
from models.networks.tracing import SurgeryError
from models.runtime import devices
from service.storage import Storage
from workers.work.exporting import Exported, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.runtime.supervisor_callbacks import Context
    from workers.work.exporting import ExportOrder


def work(order: ExportOrder, context: Context) -> Iterator[Exported | Refused]:
    """Load the checkpoint's network, write it in another format, and compare the two on the job's test images."""
    # Only here: libraries of formats take seconds to load, and other children need none of them.
    from models.exporters.errors import ExportError
    from models.exporters.loaded import ExportRequest
    from models.exporters.run import export

    if order.damage is not None:
        yield Refused(code="checkpoint_damaged", message=order.damage)
        return
    storage, folder = Storage(order.storage), order.file.parent
    devices.compute_exactly()
    try:
        pack = Pack(storage.local_path(order.pack, folder), storage.local_path(order.index, folder))
        request = ExportRequest(order.checkpoint, order.folder, order.file, order.format, order.options, order.recipe)
        with devices.translate_errors():
            report = export(request, pack, context.heartbeat)
    except (ExportError, BackboneError, SurgeryError) as error:
        yield Refused(code=error.code, message=str(error))
    else:
        yield Exported(report=report)
