"""What must hold in the end, whatever has happened: each invariant says what violates it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select

from faults.workload import delivered
from service.checkpoints import blobs
from service.jobs.lifecycle import TERMINAL
from service.storage import Storage
from service.tables import Checkpoint, CheckpointTensor, Chunk, Dataset, Epoch, Event, Job, Snapshot, Tensor
from workers import maintenance, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from faults.deployment import Deployment
    from faults.workload import Workload
    from service.database import Database


def every_job_has_ended_well(session: Session) -> Iterator[str]:
    """Succeeded, or cancelled where somebody asked for that."""
    for job in session.scalars(select(Job)):
        may_be = {"succeeded", "cancelled"} if job.details.get("fate") == "cancel" else {"succeeded"}
        if job.status not in may_be:
            yield f"{job.id} ({job.name}) is {job.status}: {job.error}"
        if job.lease_until is not None or job.worker is not None:
            yield f"{job.id} is held by {job.worker}"


def every_job_has_ended_once(session: Session) -> Iterator[str]:
    """One terminal event, the last."""
    ends = defaultdict(list)
    for of, seq, kind in session.execute(select(Event.job_id, Event.seq, Event.kind)):
        if kind in TERMINAL:
            ends[of].append(seq)
    for job in session.scalars(select(Job)):
        if ends[job.id] != [job.event_seq]:
            yield f"{job.id} has its ends at {ends[job.id]} of {job.event_seq} events"


def events_have_no_gaps(session: Session) -> Iterator[str]:
    """Numbers 1, 2, … of each job."""
    numbers = defaultdict(list)
    for of, seq in session.execute(select(Event.job_id, Event.seq).order_by(Event.seq)):
        numbers[of].append(seq)
    for job in session.scalars(select(Job)):
        if numbers[job.id] != list(range(1, job.event_seq + 1)):
            yield f"{job.id} has events {numbers[job.id]}"


def epochs_have_no_gaps(session: Session) -> Iterator[str]:
    """Each epoch once, up to the last."""
    numbers = defaultdict(list)
    for of, epoch in session.execute(select(Epoch.job_id, Epoch.epoch).order_by(Epoch.epoch)):
        numbers[of].append(epoch)
    for of, epochs in numbers.items():
        if epochs != list(range(1, len(epochs) + 1)):
            yield f"{of} has epochs {epochs}"
    for job in session.scalars(select(Job).where(Job.status == "succeeded")):
        if len(numbers[job.id]) != job.recipe["epochs"]:
            yield f"{job.id} has {len(numbers[job.id])} of {job.recipe['epochs']} epochs"


def attempts_write_no_more_when_the_next_has_started(session: Session) -> Iterator[str]:
    """Attempts start one after another, and nothing tells of one that has not."""
    for job in session.scalars(select(Job)):
        query = select(Event.data).where(Event.job_id == job.id, Event.kind == "started").order_by(Event.seq)
        started = [data["attempt"] for data in session.scalars(query)]
        if started != sorted(set(started)) or (started and started[-1] > job.attempt):
            yield f"{job.id} started attempts {started} of {job.attempt}"


def every_success_has_its_checkpoint(session: Session) -> Iterator[str]:
    """One, and none of jobs that did not succeed."""
    held = Counter(session.scalars(select(Checkpoint.job_id)))
    for job in session.scalars(select(Job)):
        if held[job.id] != (job.status == "succeeded"):
            yield f"{job.id} is {job.status} and has {held[job.id]} checkpoints"


def nothing_is_left_of_snapshots(session: Session) -> Iterator[str]:
    """Jobs that have ended need none."""
    yield from (f"{job} still has a snapshot" for job in session.scalars(select(Snapshot.job_id)))


def tensors_are_whole(session: Session) -> Iterator[str]:
    """Of what is delivered, every chunk is there; what a writer that died has begun, nothing names."""
    sizes = (
        select(Tensor.digest, Tensor.bytes, func.coalesce(func.sum(func.length(Chunk.data)), 0))
        .outerjoin(Chunk, Chunk.digest == Tensor.digest)
        .where(exists().where(CheckpointTensor.digest == Tensor.digest))
        .group_by(Tensor.digest, Tensor.bytes)
    )
    for digest, size, stored in session.execute(sizes):
        if size != stored:
            yield f"tensor {digest} has {stored} of {size} bytes"
    orphans = select(func.count()).select_from(Chunk).where(~exists().where(Tensor.digest == Chunk.digest))
    if count := session.scalar(orphans):
        yield f"{count} chunks belong to no tensor"


def datasets_are_ready(session: Session) -> Iterator[str]:
    """Whatever was uploaded whole; of what was cut off, there is no row."""
    for dataset in session.scalars(select(Dataset)):
        if dataset.status != "ready":
            yield f"{dataset.id} ({dataset.name}) is {dataset.status}: {dataset.error}"
        if dataset.name == "cut":
            yield f"{dataset.id} was cut off, and is there"


IN_THE_DATABASE: tuple[Callable[[Session], Iterator[str]], ...] = (
    every_job_has_ended_well,
    every_job_has_ended_once,
    events_have_no_gaps,
    epochs_have_no_gaps,
    attempts_write_no_more_when_the_next_has_started,
    every_success_has_its_checkpoint,
    nothing_is_left_of_snapshots,
    tensors_are_whole,
    datasets_are_ready,
)


def digests_are_those_of_undisturbed_runs(deployment: Deployment, workload: Workload) -> Iterator[str]:
    """Of everything that was delivered; what is downloaded is checked against its digest on the way."""
    with deployment.database.reading() as session:
        done = session.scalars(select(Job).where(Job.status == "succeeded")).all()
    for job in done:
        if delivered(workload.client, job.id, workload.folder) != workload.expected[str(job.name)]:
            yield f"{job.id} ({job.name}) delivers something else than an undisturbed run"


def only_what_is_needed_is_kept(database: Database) -> Iterator[str]:
    """Tensors that the collector leaves are those of checkpoints."""
    blobs.collect(database, grace_seconds=0)
    with database.reading() as session:
        kept = set(session.scalars(select(Tensor.digest)))
        needed = set(session.scalars(select(CheckpointTensor.digest)))
    if kept != needed:
        yield f"{len(kept - needed)} tensors are kept for nothing, {len(needed - kept)} are missing"


def no_file_is_left(deployment: Deployment) -> Iterator[str]:
    """In the folders of attempts, and among the files of datasets, once workers and sweep have tidied up."""
    scratch.remove_orphans(deployment.database, deployment.data / "scratch")
    yield from (f"scratch has {path.name}" for path in (deployment.data / "scratch").glob("*"))
    storage = deployment.folder / "storage"
    maintenance.remove_orphans(deployment.database, Storage(storage.as_uri()), grace_seconds=0)
    with deployment.database.reading() as session:
        named = {key for dataset in session.scalars(select(Dataset)) for key in (dataset.pack, dataset.index) if key}
    yield from (f"storage has {key}" for key in _files(storage) - named)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
