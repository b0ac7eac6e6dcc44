"""Feature store: rows survive full disks, torn files and killed writers."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from models.features.cache import FeatureCache
from models.features.shard import RECORD
from models.features.store import FeatureStore
from tests.support.stored_rows import digests, missing, numbers_on_disk, read

KEY = {"trunk": "t"}


def open_store(folder: Path, dtype: type = np.float16) -> FeatureStore:
    """Open a store of rows of 8 numbers."""
    return FeatureStore(FeatureCache(folder), KEY, (8,), np.dtype(dtype))


def make_rows(*numbers: int) -> np.ndarray:
    """Make rows of 8 consecutive numbers, different for each image."""
    return np.array([[number * 8 + column for column in range(8)] for number in numbers], np.float16)


def append(store: FeatureStore, digests: np.ndarray, view: int, rows: np.ndarray, seconds: float) -> None:
    """Append rows as one that computes them."""
    with store.lock():
        store.append(digests, view, rows, seconds)


def test_rows_are_read_as_written_in_every_process(tmp_path: Path) -> None:
    writer = open_store(tmp_path)
    with writer.lock():
        writer.append(digests([1, 2, 3]), 0, make_rows(1, 2, 3), 0.5)
        writer.append(digests([2]), 4, make_rows(9), 0.25)
    for reader in (writer, open_store(tmp_path)):
        np.testing.assert_array_equal(read(reader, [3, 1]), make_rows(3, 1))
        np.testing.assert_array_equal(read(reader, [2], 4), make_rows(9))
        assert missing(reader, [1, 5, 2]) == [5]
        assert missing(reader, [1], 4) == [1], "another view is another row"
        assert reader.sum_seconds(reader.find(digests([1, 2]), 0)) == 1.0


def test_a_store_that_is_only_looked_into_makes_no_folder(tmp_path: Path) -> None:
    assert missing(open_store(tmp_path), [1]) == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_reader_finds_rows_that_were_appended_later(tmp_path: Path) -> None:
    reader, writer = open_store(tmp_path), open_store(tmp_path)
    append(writer, digests([1]), 0, make_rows(1), 0.0)
    assert missing(reader, [1]) == [1]
    with reader.lock():
        np.testing.assert_array_equal(read(reader, [1]), make_rows(1))


def test_a_reader_follows_several_shards_that_grow_in_turns(tmp_path: Path) -> None:
    row = np.dtype(np.float16).itemsize * 8 + RECORD.itemsize
    small, large = (FeatureCache(tmp_path, budget=8 * rows_of_a_shard * row) for rows_of_a_shard in (10, 30))
    reader = open_store(tmp_path)
    writers = [FeatureStore(cache, KEY, (8,), np.dtype(np.float16)) for cache in (small, large, large)]
    for step in range(20):
        writer, new = writers[step % 3], [3 * step, 3 * step + 1, 3 * step + 2]
        with writer.lock():
            writer.append(digests(new), 0, make_rows(*new), 0.0)
        reader.refresh()
        everything = np.random.default_rng(step).permutation(3 * step + 3)
        np.testing.assert_array_equal(read(reader, everything.tolist()), make_rows(*everything))
    assert len(list(reader.folder.glob("*.index"))) > 2


def test_stores_of_different_keys_share_nothing(tmp_path: Path) -> None:
    append(open_store(tmp_path), digests([1]), 0, make_rows(1), 0.0)
    other = FeatureStore(FeatureCache(tmp_path), {"trunk": "u"}, (8,), np.dtype(np.float16))
    assert missing(other, [1]) == [1]
    assert missing(open_store(tmp_path, np.float32), [1]) == [1]


@pytest.mark.parametrize("cut", [1, RECORD.itemsize - 1, RECORD.itemsize, RECORD.itemsize + 5])
@pytest.mark.parametrize("file", ["index", "rows"])
def test_a_torn_end_is_never_read_and_is_repaired_by_the_next_writer(tmp_path: Path, file: str, cut: int) -> None:
    writer = open_store(tmp_path)
    append(writer, digests([1, 2]), 0, make_rows(1, 2), 0.0)
    (path,) = writer.folder.glob(f"*.{file}")
    os.truncate(path, max(0, path.stat().st_size - cut))
    torn = open_store(tmp_path)
    torn_rows = missing(torn, [1, 2])
    assert torn_rows, "torn rows are missing"
    append(torn, digests(torn_rows), 0, make_rows(*torn_rows), 0.0)
    for reader in (torn, open_store(tmp_path)):
        np.testing.assert_array_equal(read(reader, [1, 2]), make_rows(1, 2))


def test_a_row_that_changed_on_the_disk_is_not_read(tmp_path: Path) -> None:
    writer = open_store(tmp_path)
    append(writer, digests([1, 2]), 0, make_rows(1, 2), 0.0)
    (path,) = writer.folder.glob("*.rows")
    with path.open("r+b") as file:
        file.seek(3)
        file.write(b"\xff")
    assert missing(open_store(tmp_path), [1, 2]) == [1]


def test_a_full_disk_keeps_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_store(tmp_path)
    append(writer, digests([1]), 0, make_rows(1), 0.0)
    opened = Path.open

    class Full:
        """A file on a full disk."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            self.file.write(data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(self: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        file = opened(self, mode, *arguments, **more)
        return Full(file) if mode == "ab" else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        append(writer, digests([2, 3]), 1, make_rows(2, 3), 0.5)
        append(writer, digests([4]), 1, make_rows(4), 0.5)
    assert writer.is_full
    np.testing.assert_array_equal(read(writer, [4, 2, 3], 1), make_rows(4, 2, 3))
    np.testing.assert_array_equal(read(writer, [1]), make_rows(1))
    np.testing.assert_array_equal(read(open_store(tmp_path), [1]), make_rows(1))


def _append_to_a_full_disk(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    mine = open_store(folder)
    with mine.lock():
        mine.append(digests([1, 2]), 3, make_rows(1, 2), 0.5)
    assert mine.is_full
    assert missing(mine, [2, 7], 3) == [7]
    assert mine.sum_seconds(mine.find(digests([1, 2]), 3)) == 1.0
    np.testing.assert_array_equal(read(mine, [2], 3), make_rows(2))


@pytest.mark.parametrize("made", ["before", "never"])
def test_a_disk_that_is_full_from_the_start_does_not_fail(tmp_path: Path, made: str) -> None:
    if made == "before":
        open_store(tmp_path)
    user = multiprocessing.get_context("fork").Process(target=_append_to_a_full_disk, args=(tmp_path,))
    user.start()
    user.join()
    assert user.exitcode == 0
    assert missing(open_store(tmp_path), [1], 3) == [1]


def _write_for_ever(folder: Path, first: int) -> None:
    writer = open_store(folder)
    for number in range(first, first + 100_000, 4):
        numbers = range(number, number + 4)
        with writer.lock():
            writer.append(digests(numbers), 0, np.tile(np.arange(8, dtype=np.float16), (4, 1)), 0.0)


def test_writers_that_are_killed_leave_only_whole_rows(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(8):
        writers = [
            context.Process(target=_write_for_ever, args=(tmp_path, 1_000_000 * attempt + 500_000 * half))
            for half in range(2)
        ]
        for writer in writers:
            writer.start()
        before = len(numbers_on_disk(open_store(tmp_path)))
        while len(numbers_on_disk(open_store(tmp_path))) < before + 40:
            pass
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
    reader = open_store(tmp_path)
    numbers = set(numbers_on_disk(reader))
    whole = numbers - set(missing(reader, numbers))
    assert len(whole) >= 320
    np.testing.assert_array_equal(read(reader, whole), np.tile(np.arange(8, dtype=np.float16), (len(whole), 1)))


def test_only_one_process_computes_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    order = context.SimpleQueue()

    def compute(name: str) -> None:
        mine = open_store(tmp_path)
        with mine.lock():
            is_missing = bool(missing(mine, [1]))
            if is_missing:
                mine.append(digests([1]), 0, make_rows(1), 0.0)
            order.put((name, is_missing))

    processes = [context.Process(target=compute, args=(str(number),)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(order.get()[1] for _ in processes) == [False, False, False, True]


def test_values_beyond_half_precision_are_clipped_not_infinite(tmp_path: Path) -> None:
    writer = open_store(tmp_path)
    append(writer, digests([1]), 0, np.full((1, 8), 1e6, np.float32), 0.0)
    assert read(writer, [1]).max() == np.finfo(np.float16).max


def test_rows_found_before_a_shard_was_replaced_are_still_read(tmp_path: Path) -> None:
    """Another process deletes a shard, and a third one that has it open appends to new files of the same name."""
    reader, writer = open_store(tmp_path), open_store(tmp_path)
    append(writer, digests([1, 2]), 0, make_rows(1, 2), 0.0)
    reader.refresh()
    found = reader.find(digests([1, 2]), 0)
    (index,) = writer.folder.glob("*.index")
    for file in (index, index.with_suffix(".rows")):
        file.unlink()
        file.touch()
    other = open_store(tmp_path)
    append(other, digests([3, 4, 5]), 0, make_rows(3, 4, 5), 0.0)
    assert [file.name for file in writer.folder.glob("*.index")] == [index.name]
    for one in (reader, writer):
        with one.lock():
            np.testing.assert_array_equal(read(one, [1, 2]), make_rows(1, 2))
            one.append(digests([6]), 0, make_rows(6), 0.0)
            np.testing.assert_array_equal(read(one, [1, 2, 6]), make_rows(1, 2, 6))
    np.testing.assert_array_equal(reader.read(found), make_rows(1, 2))
    np.testing.assert_array_equal(read(open_store(tmp_path), [3, 4, 5, 6]), make_rows(3, 4, 5, 6))


def test_a_store_that_waits_for_another_sends_heartbeats(tmp_path: Path) -> None:
    """Else the supervisor of a waiting job would think that it hangs, and kill it."""
    holder, waiter = open_store(tmp_path), open_store(tmp_path)
    heartbeats: list[int] = []
    enough = threading.Event()

    def send_heartbeat() -> None:
        heartbeats.append(1)
        if len(heartbeats) == 3:
            enough.set()

    def wait() -> None:
        with waiter.lock(send_heartbeat):
            assert missing(waiter, [1]) == []

    with holder.lock():
        waiting = threading.Thread(target=wait)
        waiting.start()
        holder.append(digests([1]), 0, make_rows(1), 0.0)
        assert enough.wait(20)
    waiting.join()


def test_a_lock_tells_whether_another_may_have_appended(tmp_path: Path) -> None:
    first, second = open_store(tmp_path), open_store(tmp_path)
    found = []
    for store in (first, first, second, second, first, first):
        with store.lock() as has_news:
            found.append(has_news)
    assert found == [True, False, True, False, True, False]
