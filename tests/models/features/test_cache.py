"""Feature cache: evicts the least recently used entries, never those in use, and no process fails of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from models.features import shard
from models.features.cache import IN_USE_SECONDS, FeatureCache
from models.features.store import FeatureStore
from tests.support.stored_rows import digests, missing, numbers_on_disk, read

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MIB = 1 << 20
NUMBERS = 1024
"""Numbers in a row: 2 KiB."""


def open_store(cache: FeatureCache, trunk: str = "t") -> FeatureStore:
    return FeatureStore(cache, {"trunk": trunk}, (NUMBERS,), np.dtype(np.float16))


def make_rows(first: int, count: int) -> np.ndarray:
    return np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None] % 1000, NUMBERS, axis=1)


def fill(store: FeatureStore, first: int, count: int, at_once: int = 64) -> None:
    """Append `count` rows."""
    with store.lock():
        for start in range(first, first + count, at_once):
            store.append(digests(range(start, start + at_once)), 0, make_rows(start, at_once), 0.0)


def measure_bytes(cache: FeatureCache) -> int:
    return sum(file.stat().st_size for file in cache.folder.rglob("*") if file.suffix in (".rows", ".index", ".blob"))


def age(folder: Path, seconds: float) -> None:
    """Set the last use, and the last write, of all shards and compiled models below a folder to `seconds` ago."""
    for file in [*folder.rglob("*.index"), *folder.rglob("*.rows"), *folder.rglob("*.blob")]:
        with suppress(FileNotFoundError):
            os.utime(file, (time.time() - seconds,) * 2)


def test_rows_are_found_in_all_shards(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 8 * MIB)
    writer = open_store(cache)
    fill(writer, 0, 2048)
    assert len(list(writer.folder.glob("*.index"))) == 4
    picked = np.random.default_rng(0).permutation(2048)[:300].tolist()
    for reader in (writer, open_store(cache)):
        found = read(reader, picked)
        np.testing.assert_array_equal(found[:, 0], np.array(picked) % 1000)
        assert missing(reader, range(2000, 2100)) == list(range(2048, 2100))


def test_the_least_recently_used_shards_are_evicted_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 8 * MIB)
    old, older, new = (open_store(cache, name) for name in ("old", "older", "new"))
    for store, seconds in ((old, 5000), (older, 9000)):
        fill(store, 0, 1024)
        age(store.folder, seconds)
    assert measure_bytes(cache) > 4 * MIB
    fill(new, 0, 2880)
    assert measure_bytes(cache) <= cache.budget
    assert missing(open_store(cache, "older"), range(1024)) == list(range(1024))
    kept = 1024 - len(missing(open_store(cache, "old"), range(1024)))
    assert 0 < kept < 1024, "no more than was needed"
    assert missing(open_store(cache, "new"), range(2880)) == []


def test_reading_counts_as_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "TOUCH_SECONDS", 0.0)
    cache = FeatureCache(tmp_path, 8 * MIB)
    first, second = open_store(cache, "first"), open_store(cache, "second")
    for store in (first, second):
        fill(store, 0, 1024)
    age(tmp_path, 9000)
    read(first, range(1024))
    assert cache.make_room(5 * MIB)
    assert missing(open_store(cache, "first"), range(1024)) == []
    assert len(missing(open_store(cache, "second"), range(1024))) == 1024


def test_files_in_use_stay_and_a_job_continues_in_memory(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2 * MIB)
    store = open_store(cache)
    fill(store, 0, 2048)
    assert store.is_full
    assert measure_bytes(cache) <= 2 * MIB + cache.shard_bytes
    np.testing.assert_array_equal(read(store, range(2048))[:, 0], np.arange(2048) % 1000)
    age(tmp_path, IN_USE_SECONDS - 60)
    assert not cache.make_room(cache.budget)
    age(tmp_path, IN_USE_SECONDS + 60)
    assert cache.make_room(cache.budget)
    assert measure_bytes(cache) == 0


def test_an_open_reader_still_reads_evicted_rows(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 8 * MIB)
    fill(open_store(cache), 0, 256)
    reader = open_store(cache)
    age(tmp_path, 9000)
    assert cache.make_room(cache.budget)
    assert missing(open_store(cache), range(256)) == list(range(256))
    assert missing(reader, range(256)) == []
    np.testing.assert_array_equal(read(reader, range(5, 8))[:, 0], [5, 6, 7])
    fill(reader, 256, 64)
    np.testing.assert_array_equal(read(reader, range(250, 262))[:, 0], np.arange(250, 262))
    assert missing(open_store(cache), range(250, 262)) == list(range(250, 256))


def test_compiled_models_count_and_are_evicted_too(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 8 * MIB)
    cache.compiled_folder.mkdir()
    (cache.compiled_folder / "one.blob").write_bytes(bytes(5 * MIB))
    (cache.compiled_folder / "unfinished.123").write_bytes(bytes(MIB))
    for file in cache.compiled_folder.iterdir():
        os.utime(file, (0, 0))
    fill(open_store(cache), 0, 2048)
    assert list(cache.compiled_folder.iterdir()) == []
    assert measure_bytes(cache) <= cache.budget


def _churn(folder: Path, trunk: str) -> None:
    """Fill a store for ever, and age its shards at once."""
    cache = FeatureCache(folder, 4 * MIB)
    store = open_store(cache, trunk)
    for first in range(0, 10**7, 64):
        fill(store, first, 64)
        found = read(store, range(first, first + 64))
        assert (found[:, 0] == np.arange(first, first + 64) % 1000).all()
        age(store.folder, 9000)


def test_concurrent_writers_and_evictors_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    cache = FeatureCache(tmp_path, 4 * MIB)
    for _ in range(5):
        processes = [context.Process(target=_churn, args=(tmp_path, name)) for name in ("a", "b", "b")]
        for process in processes:
            process.start()
        time.sleep(0.4)
        assert all(process.is_alive() for process in processes)
        for process in processes:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        assert measure_bytes(cache) <= cache.budget + 3 * cache.shard_bytes
    for name in ("a", "b"):
        store = open_store(cache, name)
        numbers = set(numbers_on_disk(store))
        whole = list(numbers - set(missing(store, numbers)))
        np.testing.assert_array_equal(read(store, whole)[:, 0], np.array(whole, int) % 1000)
    age(tmp_path, 9000)  # those killed before they aged their shards have left them in use
    assert cache.make_room(0)
    assert measure_bytes(cache) <= cache.budget


def test_the_identity_is_constant(tmp_path: Path) -> None:
    first, other = FeatureCache(tmp_path / "a"), FeatureCache(tmp_path / "b")
    assert FeatureCache(tmp_path / "a").identity == first.identity != other.identity
    (tmp_path / "a" / "id").write_text("")  # as a power cut may leave it
    assert len(first.identity) == 32


def test_an_emptied_cache_holds_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    fill(open_store(cache), 0, 64)
    cache.compiled_folder.mkdir()
    (cache.compiled_folder / "blob").write_bytes(b"x" * 10)
    assert cache.bytes == 64 * (2 * NUMBERS + shard.RECORD.itemsize) + 10
    cache.empty()
    assert cache.bytes == 0
    assert len(missing(open_store(cache), range(64))) == 64


def test_many_stores_together_stay_within_the_budget(tmp_path: Path) -> None:
    """Each has begun a shard that it may fill, and the room for all of them is taken before."""
    cache = FeatureCache(tmp_path, 8 * MIB)
    stores = [open_store(cache, str(number)) for number in range(12)]
    for first in range(0, 512, 64):
        for store in stores:
            fill(store, first, 64)
    batch = 64 * (2 * NUMBERS + shard.RECORD.itemsize)
    assert cache.budget / 2 < measure_bytes(cache) <= cache.budget + 8 * batch
    assert sum(store.is_full for store in stores) == 4
    for store in stores:
        np.testing.assert_array_equal(read(store, range(512))[:, 0], np.arange(512))


def test_an_old_unfinished_shard_is_continued_only_where_there_is_room(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2 * MIB)
    old = open_store(cache, "old")
    fill(old, 0, 64)
    age(old.folder, IN_USE_SECONDS + 60)
    others = [open_store(cache, str(number)) for number in range(7)]
    for other in others:
        fill(other, 0, 64)
    fill(old, 64, 64)
    assert not old.is_full, "one place is left"
    age(old.folder, IN_USE_SECONDS + 60)
    fill(open_store(cache, "another"), 0, 64)
    again = open_store(cache, "old")
    fill(again, 128, 64)
    assert measure_bytes(cache) <= cache.budget
    np.testing.assert_array_equal(read(again, range(128, 192))[:, 0], np.arange(128, 192))
