"""Images of datasets by their digests, read from the packs in the storage."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from models.datasets.pack import Pack
from service.locked_folder import lock_folder
from service.storage import Storage
from service.tables import Dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.database import Database
    from service.settings import Settings

log = logging.getLogger(__name__)

MOST_OPEN = 8
"""Most packs that are kept open."""


class PackUnreadable(Exception):
    """The pack of a dataset cannot be read from the storage."""


@dataclass(frozen=True)
class OpenPack:
    """A dataset's pack that is open, and the place of each image in it."""

    pack: Pack
    places: Mapping[bytes, int]

    def read(self, digest: str) -> bytes | None:
        """Read an image's file by its digest, in hex; None where the dataset has no such image."""
        place = self.places.get(bytes.fromhex(digest))
        return None if place is None else self.pack.read_file(place)


class DatasetImages:
    """Packs of datasets; those that were read last stay open."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._storage = database, Storage(settings.storage)
        self._scratch = settings.scratch
        self._open: OrderedDict[str, tuple[OpenPack, ExitStack]] = OrderedDict()
        """Each with what removes its folder, for a pack that was fetched."""
        self._lock = Lock()

    def open(self, dataset: str) -> OpenPack | None:
        """Open the pack of a dataset; None where there is no such dataset, or not any more. Raises PackUnreadable."""
        with self._database.reading() as session:
            row = session.get(Dataset, dataset)
        with self._lock:
            if row is None or row.pack is None or row.index is None:
                self._close(dataset)
                return None
            if dataset not in self._open:
                try:
                    self._add(dataset, row.pack, row.index)
                except OSError as error:
                    log.exception("the pack of %s cannot be read", dataset)
                    raise PackUnreadable(str(error)) from error
            self._open.move_to_end(dataset)
            return self._open[dataset][0]

    def close(self) -> None:
        """Close all packs."""
        with self._lock:
            for dataset in list(self._open):
                self._close(dataset)

    def _add(self, dataset: str, pack_key: str, index_key: str) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(lock_folder(self._scratch))
            pack = Pack(*(self._storage.local_path(key, folder) for key in (pack_key, index_key)))
            places = {digest: place for place, digest in enumerate(pack.digests.tolist())}
            self._open[dataset] = OpenPack(pack, places), stack.pop_all()
        if len(self._open) > MOST_OPEN:
            self._close(next(iter(self._open)))

    def _close(self, dataset: str) -> None:
        """Forget a pack, and remove its copy where it was fetched; requests that have it can still read it."""
        if dataset in self._open:
            self._open.pop(dataset)[1].close()
