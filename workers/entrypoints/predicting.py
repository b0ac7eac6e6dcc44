"""Predict for the images of a dataset in a child process, part by part."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from models.datasets.pack import Pack
from models.runtime import devices
from predictor.batch import BatchOptions, BatchPredictor
from predictor.errors import ModelUnloadable
from predictor.memory import ModelMemory
from predictor.results import Columns, build_line, write_results
from service.database import Database
from service.storage import Storage
from workers.work.predicting import Finished, Progressed, Refused, StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models.runtime.supervisor_callbacks import Context
    from workers.work.predicting import Message, PredictionOrder

REPORT_SECONDS = 0.5
"""Interval of reports of progress."""
MOST_IMAGES = 10_000
MOST_BYTES = 32 << 20
"""Images and bytes at which a part is stored, if GRAFT_SNAPSHOT_SECONDS have not passed."""


class PartDamaged(Exception):
    """A stored part is not what was stored; the next attempt computes it again."""


def work(order: PredictionOrder, context: Context) -> Iterator[Message]:
    """Predict for the images that earlier attempts have not done, and write the results of all."""
    database, storage = Database(order.settings.database), Storage(order.settings.storage)
    pack = Pack(storage.local_path(order.pack, order.folder), storage.local_path(order.index, order.folder))
    options = BatchOptions(order.models, order.top_k, order.coverage)
    try:
        with devices.translate_errors():
            predictor = BatchPredictor(ModelMemory(database, order.settings), options, pack)
            context.heartbeat()
            parts = _RowStore(order, storage)
            yield from _predict(order, context, predictor, pack, parts)
            if parts.images < len(pack):  # asked to end
                return
            columns = Columns(list(zip((named.model for named in order.models), predictor.listed, strict=True)))
            files = write_results(_read_lines(storage, parts.stored, context), columns, order.folder)
        yield Finished(files={format: _store(storage, path, order.storage_prefix) for format, path in files.items()})
    except ModelUnloadable as error:
        yield Refused(code=error.code, message=error.detail)
    finally:
        database.close()


def _predict(
    order: PredictionOrder, context: Context, predictor: BatchPredictor, pack: Pack, parts: _RowStore
) -> Iterator[Message]:
    progress = _Progress(len(pack), parts)
    for batch in predictor.predict(parts.images):
        parts.add([build_line(image, pack, order.classes) for image in batch], sum(bool(each.error) for each in batch))
        context.heartbeat()
        is_ending = context.snapshot_requested()
        if is_ending or parts.is_due:
            yield parts.store()
        if progress.is_due or parts.is_empty:
            yield progress.report(predictor.cached)
        if is_ending:
            return
    if not parts.is_empty:
        yield parts.store()
    yield progress.report(predictor.cached)


class _RowStore:
    """Rows that are stored, and those that will be."""

    def __init__(self, order: PredictionOrder, storage: Storage) -> None:
        self._order, self._storage = order, storage
        self.stored = list(order.parts)
        self.images = sum(part.images for part in order.parts)
        """Images that are done, stored or not."""
        self.errors = sum(part.errors for part in order.parts)
        self._begin()

    def _begin(self) -> None:
        self._lines: list[bytes] = []
        self._first, self._errors_before = self.images, self.errors
        self._bytes, self._began = 0, time.monotonic()

    @property
    def is_empty(self) -> bool:
        """True if every row is stored."""
        return not self._lines

    @property
    def is_due(self) -> bool:
        """True if it is time to store the rows."""
        is_old = time.monotonic() - self._began >= self._order.settings.snapshot_seconds
        return is_old or self._bytes >= MOST_BYTES or len(self._lines) >= MOST_IMAGES

    def add(self, lines: Sequence[bytes], errors: int) -> None:
        """Add the rows of the next images."""
        self._lines += lines
        self._bytes += sum(map(len, lines))
        self.images += len(lines)
        self.errors += errors

    def store(self) -> StoredPart:
        """Store the rows that are not stored yet."""
        path = self._order.folder / "part"
        path.write_bytes(b"".join(self._lines))
        file = _store(self._storage, path, f"{self._order.storage_prefix}{self._first}.")
        errors = self.errors - self._errors_before
        part = StoredPart(
            first=self._first, images=len(self._lines), errors=errors, key=file["key"], digest=file["digest"]
        )
        self.stored.append(part)
        self._begin()
        return part


class _Progress:
    """Progress in images, and the expected end."""

    def __init__(self, total: int, parts: _RowStore) -> None:
        self._total, self._parts, self._first = total, parts, parts.images
        self._began, self._reported = time.monotonic(), 0.0

    @property
    def is_due(self) -> bool:
        """True if the last report is old."""
        return time.monotonic() - self._reported >= REPORT_SECONDS

    def report(self, cached: int) -> Progressed:
        """Report the progress so far."""
        self._reported = now = time.monotonic()
        done = self._parts.images
        rate = (done - self._first) / max(now - self._began, 1e-6)
        return Progressed(
            percent=round(99 * done / self._total, 1),  # the rest is writing the results
            images=done,
            errors=self._parts.errors,
            cached=cached,
            images_per_second=round(rate, 1),
            eta_seconds=round((self._total - done) / rate, 1) if rate else None,
        )


def _read_lines(storage: Storage, parts: Sequence[StoredPart], context: Context) -> Iterator[bytes]:
    """Read the rows of all parts; raises PartDamaged."""
    for part in parts:
        digest = hashlib.sha256()
        with storage.reading(part.key) as file:
            for line in file:
                digest.update(line)
                yield line
                context.heartbeat()
        if digest.hexdigest() != part.digest:
            raise PartDamaged(part.key)


def _store(storage: Storage, path: Path, prefix: str) -> dict[str, Any]:
    """Put a file into the storage, named by its content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    key = f"{prefix}{digest}{path.suffix}"
    storage.put(path, key)
    return {"key": key, "bytes": size, "digest": digest}
