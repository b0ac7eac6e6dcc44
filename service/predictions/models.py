"""Models that a request names: names that point at checkpoints, or ids of checkpoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from service.backbones.tables import CHECKPOINT
from service.byte_cache import ByteCache
from service.models.repository import find_checkpoint
from service.predictions.protocol import NamedModel
from service.tables import Checkpoint, Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

MOST_REMEMBERED_BYTES = 32 << 20
"""Bytes of the lists of names whose checkpoints are remembered: some hundred lists of a thousand names."""
AT_ONCE = 500
"""Most ids in one statement."""
THERE = select(Checkpoint.id).where(Checkpoint.id.in_(bindparam("names", expanding=True)))
POINTED_AT = select(Model.name, Model.checkpoint_id).where(Model.name.in_(bindparam("names", expanding=True)))


def find_models(connection: Connection, names: Sequence[str]) -> list[NamedModel]:
    """Find the checkpoints that names stand for, in their order; raises ModelNotFound, CheckpointNotFound."""
    ids = [name for name in names if name.startswith(CHECKPOINT)]
    others = [name for name in names if not name.startswith(CHECKPOINT)]
    found: dict[str, str] = {}
    for start in range(0, len(ids), AT_ONCE):
        there = connection.scalars(THERE, {"names": ids[start : start + AT_ONCE]})
        found |= {checkpoint: checkpoint for checkpoint in there}
    for start in range(0, len(others), AT_ONCE):
        pairs = connection.execute(POINTED_AT, {"names": others[start : start + AT_ONCE]})
        found |= dict(iter(pairs))
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        find_checkpoint(Session(connection), missing)  # it says why
        return find_models(connection, names)  # it was made meanwhile
    return [NamedModel(name, found[name]) for name in names]


class RememberedModels:
    """Cache of the models that names stood for lately: a guess, which `find_models` must confirm for each answer."""

    def __init__(self) -> None:
        self._cache: ByteCache[list[NamedModel]] = ByteCache(MOST_REMEMBERED_BYTES)

    def recall(self, names: Sequence[str]) -> list[NamedModel] | None:
        """Recall the models of names, in their order; None if they were not asked for together lately."""
        return self._cache.recall(tuple(names))

    def remember(self, models: list[NamedModel]) -> None:
        """Remember the models of names, and forget those that were asked for longest ago."""
        names = tuple(named.model for named in models)
        if self._cache.recall(names) != models:
            self._cache.remember(names, models, sum(map(_measure, models)))

    def forget(self, names: Sequence[str]) -> None:
        """Forget names of which one is no model any more."""
        self._cache.forget(tuple(names))


def _measure(named: NamedModel) -> int:
    """Measure the bytes that a model takes in the cache: both texts, the object, its places in the list and the key."""
    return sum(map(sys.getsizeof, (named, named.model, named.checkpoint))) + 16
