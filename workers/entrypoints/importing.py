"""Import an uploaded backbone in a locked-down child process: what it reads is anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.importers.events import Imported, Progressed, Rejected
from models.importers.report import ImportReport
from workers import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.importers.events import ImportEvent
    from models.runtime.supervisor_callbacks import Context
    from workers.work.importing import ImportOrder


def work(order: ImportOrder, context: Context) -> Iterator[ImportEvent]:
    """Read the upload, and write the backbone's files into the folder of the request."""
    request = order.request
    lacking = sandbox.enter(
        sandbox.Limits(order.most_cpu_seconds, order.most_file_bytes),
        work=order.scratch,
        writable=[order.scratch, request.folder],
        readable=[path for path in (request.file, request.samples) if path],
    )
    if not request.file.exists():
        message = "The uploaded file is missing in the storage. Send it again."
        yield Rejected(code="upload_missing", message=message, report=ImportReport(notes=lacking))
        return
    # Only here: some readers' libraries take seconds to load, and other children need none of them.
    from models.importers.run import import_backbone

    for event in import_backbone(request, context.heartbeat):
        yield event if isinstance(event, Progressed) else _add_notes(event, lacking)


def _add_notes(event: Imported | Rejected, notes: list[str]) -> Imported | Rejected:
    """Add notes to the report of an event."""
    report = event.report.model_copy(update={"notes": [*event.report.notes, *notes]})
    return event.model_copy(update={"report": report})
