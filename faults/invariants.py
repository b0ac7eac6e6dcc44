"""Invariants that must hold after every fault; each function finds the violations of one."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select

from faults.workload import digest_checkpoint, retry
from service.backbones import imports
from service.checkpoints import blobs
from service.datasets import repository as datasets
from service.jobs import snapshots
from service.jobs.lifecycle import TERMINAL
from service.storage import Storage
from service.tables import (
    Backbone,
    Checkpoint,
    CheckpointTensor,
    Chunk,
    Crash,
    Dataset,
    Epoch,
    Event,
    Job,
    Snapshot,
    Tensor,
    TrunkTensor,
)
from workers import maintenance, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from faults.deployment import Deployment
    from faults.workload import Workload
    from service.database import Database


def find_bad_ends(session: Session) -> Iterator[str]:
    """Find jobs that have not succeeded, but for those that were cancelled on request, and jobs that are still held."""
    for job in session.scalars(select(Job)):
        allowed = {"succeeded", "cancelled"} if job.details.get("fate") == "cancel" else {"succeeded"}
        if job.status not in allowed:
            yield f"{job.id} ({job.name}) is {job.status}: {job.error}"
        if job.lease_until is not None or job.worker is not None:
            yield f"{job.id} is held by {job.worker}"


def find_repeated_ends(session: Session) -> Iterator[str]:
    """Find jobs whose events have a terminal one that is not the last, or none."""
    ends = defaultdict(list)
    for job_id, seq, kind in session.execute(select(Event.job_id, Event.seq, Event.kind)):
        if kind in TERMINAL:
            ends[job_id].append(seq)
    for job in session.scalars(select(Job)):
        if ends[job.id] != [job.event_seq]:
            yield f"{job.id} has terminal events {ends[job.id]} of {job.event_seq}"


def find_event_gaps(session: Session) -> Iterator[str]:
    """Find jobs whose events are not numbered 1, 2, …"""
    numbers = defaultdict(list)
    for job_id, seq in session.execute(select(Event.job_id, Event.seq).order_by(Event.seq)):
        numbers[job_id].append(seq)
    for job in session.scalars(select(Job)):
        if numbers[job.id] != list(range(1, job.event_seq + 1)):
            yield f"{job.id} has events {numbers[job.id]}"


def find_epoch_gaps(session: Session) -> Iterator[str]:
    """Find jobs whose epochs are not numbered 1, 2, …, and successful ones that lack some."""
    numbers = defaultdict(list)
    for job_id, epoch in session.execute(select(Epoch.job_id, Epoch.epoch).order_by(Epoch.epoch)):
        numbers[job_id].append(epoch)
    for job_id, epochs in numbers.items():
        if epochs != list(range(1, len(epochs) + 1)):
            yield f"{job_id} has epochs {epochs}"
    for job in session.scalars(select(Job).where(Job.status == "succeeded")):
        if len(numbers[job.id]) != job.recipe["epochs"]:
            yield f"{job.id} has {len(numbers[job.id])} of {job.recipe['epochs']} epochs"


def find_late_attempts(session: Session) -> Iterator[str]:
    """Find jobs whose attempts did not start one after another, and events of attempts that were never claimed."""
    for job in session.scalars(select(Job)):
        query = select(Event.data).where(Event.job_id == job.id, Event.kind == "started").order_by(Event.seq)
        started = [data["attempt"] for data in session.scalars(query)]
        if started != sorted(set(started)) or (started and started[-1] > job.attempt):
            yield f"{job.id} started attempts {started} of {job.attempt}"


def find_wrong_checkpoints(session: Session) -> Iterator[str]:
    """Find successful jobs without exactly one checkpoint, and others that have any."""
    counts = Counter(session.scalars(select(Checkpoint.job_id)))
    for job in session.scalars(select(Job)):
        if counts[job.id] != (job.status == "succeeded"):
            yield f"{job.id} is {job.status} and has {counts[job.id]} checkpoints"


def find_left_snapshots(session: Session) -> Iterator[str]:
    """Find jobs that have ended and still name a snapshot."""
    query = select(Snapshot.job_id).join(Job, Job.id == Snapshot.job_id).where(Job.status.in_(TERMINAL))
    yield from (f"{job} still has a snapshot" for job in session.scalars(query))


def find_incomplete_tensors(session: Session) -> Iterator[str]:
    """Find incomplete tensors of checkpoints, and chunks of no tensor; tensors that nothing names may be incomplete."""
    sizes = (
        select(Tensor.digest, Tensor.bytes, func.coalesce(func.sum(func.length(Chunk.data)), 0))
        .outerjoin(Chunk, Chunk.digest == Tensor.digest)
        .where(blobs.is_named())
        .group_by(Tensor.digest, Tensor.bytes)
    )
    for digest, size, stored in session.execute(sizes):
        if size != stored:
            yield f"tensor {digest} has {stored} of {size} bytes"
    orphans = select(func.count()).select_from(Chunk).where(~exists().where(Tensor.digest == Chunk.digest))
    if count := session.scalar(orphans):
        yield f"{count} chunks belong to no tensor"


def find_stalls(session: Session) -> Iterator[str]:
    """Find attempts that were killed as hung: no fault stops a child for so long."""
    for crash in session.scalars(select(Crash).where(Crash.cause == "stalled")):
        yield f"attempt {crash.attempt} of {crash.job_id} counted as hung"


def find_unready_datasets(session: Session) -> Iterator[str]:
    """Find datasets that are not ready, and datasets of uploads that were cut off."""
    for dataset in session.scalars(select(Dataset)):
        if dataset.status != "ready":
            yield f"{dataset.id} ({dataset.name}) is {dataset.status}: {dataset.error}"
        if dataset.name == "cut":
            yield f"{dataset.id} was cut off, and is there"


def find_unready_uploads(session: Session) -> Iterator[str]:
    """Find uploaded backbones that are not ready, are held, or whose events are not numbered 1, 2, …"""
    for backbone in session.scalars(select(Backbone).where(Backbone.source == "upload")):
        events = imports.find_events(session, backbone.id, 0, backbone.event_seq + 1)
        if [event.seq for event in events] != list(range(1, backbone.event_seq + 1)):
            yield f"{backbone.id} has events {[event.seq for event in events]}"
        if backbone.status != "ready" or backbone.lease_until is not None:
            yield f"{backbone.id} is {backbone.status}, held by {backbone.worker}: {backbone.error}"
        if events and events[-1].kind != "ready":
            yield f"{backbone.id} ends with {events[-1].kind}"


IN_THE_DATABASE: dict[str, Callable[[Session], Iterator[str]]] = {
    "every job has ended well": find_bad_ends,
    "every job has ended once": find_repeated_ends,
    "events have no gaps": find_event_gaps,
    "epochs have no gaps": find_epoch_gaps,
    "attempts start one after another": find_late_attempts,
    "every success has its checkpoint": find_wrong_checkpoints,
    "jobs that have ended have no snapshot": find_left_snapshots,
    "tensors are complete": find_incomplete_tensors,
    "no attempt counts as hung": find_stalls,
    "datasets are ready": find_unready_datasets,
    "uploaded backbones are ready": find_unready_uploads,
}


def find_other_digests(deployment: Deployment, workload: Workload) -> Iterator[str]:
    """Find jobs whose checkpoint differs from that of a run without faults; downloads are checked against digests."""
    with deployment.database.reading() as session:
        done = session.scalars(select(Job).where(Job.status == "succeeded")).all()
    for job in done:
        if digest_checkpoint(workload.client, job.id, workload.folder) != workload.expected[str(job.name)]:
            yield f"{job.id} ({job.name}) has another checkpoint than a run without faults"


def find_unused_tensors(database: Database) -> Iterator[str]:
    """Find tensors that no checkpoint names after the collector has run, and named ones that are missing."""
    blobs.collect(database, grace_seconds=0)
    with database.reading() as session:
        kept = set(session.scalars(select(Tensor.digest)))
        needed = {d for t in (CheckpointTensor, TrunkTensor) for d in session.scalars(select(t.digest))}
    if kept != needed:
        yield f"{len(kept - needed)} tensors are kept for nothing, {len(needed - kept)} are missing"


def find_damaged_snapshots(database: Database, storage: Path) -> Iterator[str]:
    """Find jobs that name a snapshot file that is missing or damaged; none may exist at any moment."""
    for snapshot in retry(lambda: _list_snapshots(database)):
        digest = _digest(storage / snapshot.key)
        # A worker may have replaced the snapshot since, and removed the file.
        if digest != snapshot.digest and snapshot.key in {now.key for now in retry(lambda: _list_snapshots(database))}:
            yield f"{snapshot.job_id} names {snapshot.key}, which is {'missing' if digest is None else 'damaged'}"


def find_left_files(deployment: Deployment) -> Iterator[str]:
    """Find files in scratch folders, and files in the storage that no row names, after all cleaning up."""
    scratch.remove_orphans(deployment.database, deployment.data / "scratch")
    yield from (f"scratch has {path.name}" for path in (deployment.data / "scratch").glob("*"))
    yield from find_unnamed_files(deployment.database, deployment.storage)


def find_unnamed_files(database: Database, storage: Path) -> Iterator[str]:
    """Find files in the storage that no row names after the sweep, and named ones that are missing."""
    maintenance.remove_orphans(database, Storage(storage.as_uri()), grace_seconds=0)
    with database.reading() as session:
        named = datasets.find_file_keys(session) | snapshots.list_keys(session) | imports.find_file_keys(session)
    there = {str(path.relative_to(storage)) for path in storage.rglob("*") if path.is_file()}
    yield from (f"storage has {key}" for key in there - named)
    yield from (f"storage lacks {key}" for key in named - there)


def _list_snapshots(database: Database) -> list[Snapshot]:
    with database.reading() as session:
        return list(session.scalars(select(Snapshot)))


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
