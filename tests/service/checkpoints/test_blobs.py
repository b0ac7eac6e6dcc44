"""Contents of checkpoints in both databases: the bytes come back, what is shared is stored once, and nothing tears."""

from __future__ import annotations

import resource
import threading
from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import func, select, text, update

from models.runtime.checkpoint_file import write
from service.checkpoints import blobs, deletion, repository
from service.checkpoints.errors import CheckpointDamaged, CheckpointNotFound, ContentsCollected
from service.tables import Checkpoint, Chunk, Tensor, Trunk
from tests.support.checkpoints import add_job, publish, store_and_publish

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


@pytest.fixture
def jobs(database: Database) -> Database:
    """The database with a job."""
    add_job(database)
    return database


def file_of(folder: Path, name: str, **tensors: torch.Tensor) -> Path:
    """A safetensors file."""
    write(folder / name, tensors, {"name": name})
    return folder / name


def trunk() -> torch.Tensor:
    """A tensor of two and a half chunks."""
    return torch.randn(5 << 17, generator=torch.Generator().manual_seed(0))


def stored_bytes(database: Database) -> int:
    """Bytes of all chunks."""
    with database.reading() as session:
        return session.scalar(select(func.sum(func.length(Chunk.data)))) or 0


def test_a_file_comes_back_whole(jobs: Database, tmp_path: Path) -> None:
    file = file_of(
        tmp_path, "a", trunk=trunk(), bias=torch.randn(3), empty=torch.zeros(0), same=torch.ones(7), too=torch.ones(7)
    )
    checkpoint = store_and_publish(jobs, file)
    assert b"".join(blobs.read(jobs, checkpoint, 0, checkpoint.bytes)) == file.read_bytes()
    assert checkpoint.bytes == file.stat().st_size
    import hashlib

    assert checkpoint.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_any_part_comes_back(jobs: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, "a", trunk=trunk(), bias=torch.randn(3), b2=torch.randn(50))
    checkpoint = store_and_publish(jobs, file)
    whole = file.read_bytes()
    header, size, chunk = 8 + int.from_bytes(whole[:8], "little"), len(whole), blobs.CHUNK
    edges = [
        0,
        1,
        header - 1,
        header,
        header + 1,
        header + chunk - 1,
        header + chunk,
        header + 2 * chunk + 5,
        size - 1,
        size,
    ]
    for start in edges:
        for stop in edges:
            if start < stop:
                assert b"".join(blobs.read(jobs, checkpoint, start, stop)) == whole[start:stop], (start, stop)


def test_tensors_that_checkpoints_share_are_stored_once(jobs: Database, tmp_path: Path) -> None:
    store_and_publish(jobs, file_of(tmp_path, "a", trunk=trunk(), head=torch.zeros(10)))
    once = stored_bytes(jobs)
    store_and_publish(jobs, file_of(tmp_path, "b", trunk=trunk(), head=torch.ones(10)))
    assert stored_bytes(jobs) == once + 40
    assert once == trunk().nbytes + 40


def test_a_store_that_was_cut_short_is_completed_by_the_next(jobs: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, "a", trunk=trunk())
    blobs.store(jobs, file)
    with jobs.writing() as session:
        session.execute(text("DELETE FROM chunks WHERE seq = 1"))
    checkpoint = store_and_publish(jobs, file)
    assert b"".join(blobs.read(jobs, checkpoint, 0, checkpoint.bytes)) == file.read_bytes()


def test_a_changed_chunk_is_never_delivered_as_a_whole_file(jobs: Database, tmp_path: Path) -> None:
    checkpoint = store_and_publish(jobs, file_of(tmp_path, "a", trunk=trunk()))
    with jobs.writing() as session:
        session.execute(update(Chunk).where(Chunk.seq == 1).values(data=b"\0" * blobs.CHUNK))
    received = 0
    with pytest.raises(CheckpointDamaged, match="restore"):
        for block in blobs.read(jobs, checkpoint, 0, checkpoint.bytes):
            received += len(block)
    assert received < checkpoint.bytes
    with jobs.writing() as session:
        session.execute(text("DELETE FROM chunks WHERE seq = 2"))
    with pytest.raises(CheckpointDamaged, match="missing"):
        list(blobs.read(jobs, checkpoint, 0, checkpoint.bytes))


def test_deleting_a_checkpoint_frees_the_tensors_that_only_it_needed(jobs: Database, tmp_path: Path) -> None:
    kept = store_and_publish(jobs, file_of(tmp_path, "a", trunk=trunk(), head=torch.zeros(10)))
    gone = store_and_publish(jobs, file_of(tmp_path, "b", trunk=trunk(), head=torch.ones(10)), "last")
    with jobs.writing() as session:
        deletion.delete(session, gone.id, deleted_by=None)
    assert blobs.collect(jobs, grace_seconds=3600) == 0, "somebody may be about to publish it"
    assert blobs.collect(jobs, grace_seconds=0) == 1
    assert b"".join(blobs.read(jobs, kept, 0, kept.bytes)) == (tmp_path / "a").read_bytes()
    with jobs.writing() as session, pytest.raises(CheckpointNotFound):
        deletion.delete(session, gone.id, deleted_by=None)


def test_a_trunk_goes_with_its_last_checkpoint(jobs: Database, tmp_path: Path) -> None:
    """A checkpoint's own tensors go with it, whichever of the fine-tunes was stored first."""
    checkpoints = []
    for number in range(2):
        own = {"fc.weight": torch.full((9,), float(number))}
        write(tmp_path / str(number), {"trunk": trunk(), **own}, {"trained_tensors": '["fc.weight"]'})
        checkpoints.append(store_and_publish(jobs, tmp_path / str(number)))
    assert len({checkpoint.trunk_id for checkpoint in checkpoints}) == 1
    for number, checkpoint in enumerate(checkpoints):
        whole = (tmp_path / str(number)).read_bytes()
        assert b"".join(blobs.read(jobs, checkpoint, 0, checkpoint.bytes)) == whole
        listed = blobs.list_tensors(jobs, checkpoint)
        assert [tensor.name for tensor in listed] == ["fc.weight", "trunk"]
        assert whole.endswith(b"".join(blobs.read_tensor(jobs, tensor) for tensor in listed))
    for number, (checkpoint, removed) in enumerate(zip(checkpoints, (1, 2), strict=True)):
        with jobs.writing() as session:
            deletion.delete(session, checkpoint.id, deleted_by=None)
        assert blobs.collect(jobs, grace_seconds=0) == removed, number
    with jobs.reading() as session:
        assert session.scalar(select(func.count()).select_from(Trunk)) == 0
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0


def test_collecting_while_others_store_never_breaks_a_checkpoint(jobs: Database, tmp_path: Path) -> None:
    """Each round deletes a checkpoint whose tensor the next one needs again, while the collector runs."""
    file = file_of(tmp_path, "a", trunk=trunk())
    stop = threading.Event()
    errors: list[BaseException] = []

    def collect() -> None:
        while not stop.is_set():
            try:
                blobs.collect(jobs, grace_seconds=0.5)
            except BaseException as error:  # the test reports it
                errors.append(error)
                return

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(15):
            checkpoint = store_and_publish(jobs, file)
            assert b"".join(blobs.read(jobs, checkpoint, 0, checkpoint.bytes)) == file.read_bytes()
            with jobs.writing() as session:
                deletion.delete(session, checkpoint.id, deleted_by=None)
    finally:
        stop.set()
        collector.join()
    assert errors == []


def test_contents_collected_before_publishing_raise_and_can_be_stored_again(jobs: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, "a", trunk=trunk())
    manifest = blobs.store(jobs, file)
    assert blobs.collect(jobs, grace_seconds=0) == 1
    with pytest.raises(ContentsCollected):
        publish(jobs, manifest)
    checkpoint = publish(jobs, blobs.store(jobs, file))
    assert b"".join(blobs.read(jobs, checkpoint, 0, checkpoint.bytes)) == file.read_bytes()


def test_writers_of_the_same_content_do_not_hinder_each_other(jobs: Database, tmp_path: Path) -> None:
    files = [file_of(tmp_path, str(n), trunk=trunk(), head=torch.full((9,), float(n))) for n in range(4)]
    found: list[Checkpoint] = []
    threads = [threading.Thread(target=lambda file=file: found.append(store_and_publish(jobs, file))) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    with jobs.reading() as session:
        assert session.scalar(select(func.count()).select_from(Tensor)) == 5


def test_a_large_file_needs_little_memory(jobs: Database, tmp_path: Path) -> None:
    size = 96 << 20
    file = file_of(tmp_path, "large", trunk=torch.arange(size // 4, dtype=torch.int32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checkpoint = store_and_publish(jobs, file)
    read = sum(len(block) for block in blobs.read(jobs, checkpoint, 0, checkpoint.bytes))
    assert read == checkpoint.bytes
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    # The file is memory-mapped, so its own pages may count once.
    assert grown < size + (48 << 20)


def test_the_best_comes_first(jobs: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, "a", head=torch.ones(1))
    last, best = store_and_publish(jobs, file, "last"), store_and_publish(jobs, file, "best")
    with jobs.reading() as session:
        assert [found.id for found in repository.find_by_job(session, "job_1")] == [best.id, last.id]
