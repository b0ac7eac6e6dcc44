"""Work of children in tests of imports: the uploaded file says how it ends."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from models.importers.events import Imported, ImportedSummary, Progressed, Rejected, WrittenFile
from models.importers.report import ImportReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.importers.events import ImportEvent
    from models.runtime.supervisor_callbacks import Context
    from workers.work.importing import ImportOrder

CONFIG = b"{}"


def work(order: ImportOrder, context: Context) -> Iterator[ImportEvent]:
    """Do as the first word of the file says."""
    request = order.request
    yield Progressed(stage="reading", percent=10, message="Reading the file")
    what = request.file.read_text().split()[0]
    if what == "abort":
        os.abort()
    if what == "preprocessing" and request.preprocessing is None:
        report = ImportReport(format="onnx")
        yield Rejected(code="preprocessing_needed", message="Say it to /{id}.", report=report)
        return
    if what == "broken":
        yield Rejected(code="file_broken", message="It is truncated.", report=ImportReport(format="onnx"))
        return
    if what == "link":
        (request.folder / "config.json").symlink_to("/etc/hostname")
    else:
        (request.folder / "config.json").write_bytes(CONFIG)
    name = "../config.json" if what == "escape" else "config.json"
    samples = request.samples.read_text() if request.samples else ""
    yield Imported(
        summary=ImportedSummary(
            architecture="graph", parameters=7, input_size=(3, 32, 32), licence="mit", multiply_adds=5
        ),
        report=ImportReport(format="onnx", notes=[f"samples: {samples}"]),
        inspection={"cuts": []},
        files={name: WrittenFile(bytes=len(CONFIG), digest=sha256(CONFIG).hexdigest())},
    )
