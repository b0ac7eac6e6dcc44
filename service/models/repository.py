"""Every query about models, and the changes of what a name points at.

Whoever changes a name locks it first, so that moves come one after another, and share-locks the checkpoint, which is
locked by whoever deletes it: so a name points at a checkpoint that is there, and its history has no gap.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from service.backbones.tables import CHECKPOINT
from service.checkpoints import repository as checkpoints
from service.database import lock_name
from service.models.errors import CheckpointUnknown, ModelNotFound
from service.table_base import now
from service.tables import Checkpoint, Model, ModelMove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session


class NamedCheckpoint(NamedTuple):
    """A name, the checkpoint that it points at, and the move that made it do so."""

    model: Model
    checkpoint: Checkpoint
    move: ModelMove


def find_checkpoint(session: Session, name: str) -> Checkpoint:
    """Find a checkpoint by its id (ckpt_…) or by the name of a model; raises CheckpointNotFound, ModelNotFound."""
    if name.startswith(CHECKPOINT):
        return checkpoints.get(session, name)
    found = session.scalar(select(Checkpoint).join(Model).where(Model.name == name))
    if found is None:
        raise _explain_missing(session, name)
    return found


def get(session: Session, name: str) -> NamedCheckpoint:
    """Get a model; raises ModelNotFound."""
    found = session.execute(_select_named().where(Model.name == name)).one_or_none()
    if found is None:
        raise _explain_missing(session, name)
    model, checkpoint, last = found
    return NamedCheckpoint(model, checkpoint, last)


def find_page(session: Session, *, limit: int, after: str | None = None) -> list[NamedCheckpoint]:
    """Find the first `limit` + 1 models after the name `after`, by name."""
    query = _select_named().order_by(Model.name).limit(limit + 1)
    if after is not None:
        query = query.where(Model.name > after)
    return [NamedCheckpoint(model, checkpoint, last) for model, checkpoint, last in session.execute(query)]


def find_moves(session: Session, name: str, *, after: int, limit: int) -> Sequence[ModelMove]:
    """Find at most `limit` moves of a name with numbers above `after`, in order; raises ModelNotFound."""
    query = select(ModelMove).where(ModelMove.name == name, ModelMove.seq > after).order_by(ModelMove.seq).limit(limit)
    moves = session.scalars(query).all()
    if not moves and _count_moves(session, name) == 0:
        raise _explain_missing(session, name)
    return moves


def lock(session: Session, name: str) -> Model | None:
    """Lock a name until the transaction ends, whether it is there or not."""
    lock_name(session, f"model {name}")
    return session.get(Model, name, with_for_update=True)


def move(session: Session, name: str, checkpoint_id: str, *, created_by: str | None, job: str | None = None) -> None:
    """Make a name point at a checkpoint; where it does so already, nothing is written. Raises CheckpointUnknown."""
    model = lock(session, name)
    if not checkpoints.lock_against_deletion(session, checkpoint_id):
        raise CheckpointUnknown(
            f"There is no checkpoint {checkpoint_id}: it may have been deleted. GET /v1/jobs/JOB/checkpoints lists a "
            "job's."
        )
    if model is None:
        session.add(Model(name=name, checkpoint_id=checkpoint_id))
    elif model.checkpoint_id == checkpoint_id:
        return
    else:
        model.checkpoint_id = checkpoint_id
    _add_move(session, name, checkpoint_id, created_by, job)


def delete(session: Session, name: str, *, created_by: str | None) -> None:
    """Delete a name; its checkpoint and its history stay. Raises ModelNotFound."""
    model = lock(session, name)
    if model is None:
        raise _explain_missing(session, name)
    session.delete(model)
    _add_move(session, name, None, created_by, None)


def _add_move(session: Session, name: str, checkpoint_id: str | None, created_by: str | None, job: str | None) -> None:
    moment = session.scalars(select(now())).one()
    seq = _count_moves(session, name) + 1
    session.add(
        ModelMove(name=name, seq=seq, checkpoint=checkpoint_id, created_by=created_by, job=job, created_at=moment)
    )
    session.flush()


def _count_moves(session: Session, name: str) -> int:
    return session.scalar(select(func.max(ModelMove.seq)).where(ModelMove.name == name)) or 0


def _select_named() -> Select[Model, Checkpoint, ModelMove]:
    last = select(func.max(ModelMove.seq)).where(ModelMove.name == Model.name).correlate(Model).scalar_subquery()
    return (
        select(Model, Checkpoint, ModelMove)
        .join(Checkpoint, Checkpoint.id == Model.checkpoint_id)
        .join(ModelMove, (ModelMove.name == Model.name) & (ModelMove.seq == last))
    )


def _explain_missing(session: Session, name: str) -> ModelNotFound:
    near = difflib.get_close_matches(name, session.scalars(select(Model.name)).all(), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return ModelNotFound(f"There is no model {name:.100}. {hint}PUT /v1/models/NAME makes one of a checkpoint.")
