"""Validate a dataset in a child process, which opens untrusted files with limited memory."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from models.datasets.archives import Limits
from models.datasets.errors import DatasetRejected
from models.datasets.pack import UNLABELLED, write_index
from models.datasets.report import write_skipped
from models.datasets.validation import validate
from service.storage import Storage
from service.uploads import parts
from workers.memory_limit import limit_own_memory
from workers.work.validation import Accepted, Rejected, ValidationOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.runtime.supervisor_callbacks import Context

MAX_MEMORY_BYTES = 8 << 30
"""Memory, libraries included, where GRAFT_MEMORY_BYTES is not less: no archive that is well-formed needs more."""


def work(order: ValidationOrder, context: Context) -> Iterator[Accepted | Rejected]:
    """Validate an archive, and write its pack, its index and the list of skipped files to the storage."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_own_memory(MAX_MEMORY_BYTES)
    storage = Storage(order.storage)
    limits = Limits(order.most_bytes, order.most_files)
    try:
        with parts.reading(storage, order.archive) as archive, storage.writing(order.pack) as pack:
            validated = validate(archive, pack, limits, context.heartbeat, is_labelled=order.is_labelled)
    except DatasetRejected as rejected:
        yield Rejected(code=rejected.code, message=str(rejected))
        return
    with storage.writing(order.index) as index:
        write_index(index, validated.entries, validated.decoding)
    with storage.writing(order.skipped) as skipped:
        write_skipped(skipped, validated.skipped)
    yield Accepted(
        task=validated.task or UNLABELLED,
        classes=validated.classes,
        images=len(validated.entries),
        digest=validated.digest,
        report=validated.report,
    )
