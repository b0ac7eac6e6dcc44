"""Stateful test of feature stores that share a folder, against a plain parser of its files."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from models.features.cache import FeatureCache
from models.features.store import FeatureStore
from tests.support.stored_rows import digests, missing, read

Opened = tuple[FeatureStore, set[tuple[bytes, int]]]
"""A store, and the keys whose rows it must have."""


def make_rows(numbers: list[int], view: int) -> np.ndarray:
    """Make the rows of images, (n, 8): their numbers, columns and view in each."""
    return np.array(numbers, np.float16)[:, None] * 8 + np.arange(8, dtype=np.float16) + view


def parse_files(folder: Path) -> dict[tuple[bytes, int], bytes]:
    """Parse the whole rows of 8 numbers from the files of a store, without any of its code."""
    found = {}
    for index in sorted(folder.glob("*.index")):
        content, values = index.read_bytes(), index.with_suffix(".rows").read_bytes()
        for number in range(min(len(content) // 44, len(values) // 16)):
            digest, view, checksum, _ = struct.unpack_from("<32sIIf", content, 44 * number)
            row = values[16 * number : 16 * number + 16]
            if zlib.crc32(row) == checksum:
                found[digest, view] = row
    return found


class Stores(RuleBasedStateMachine):
    """Several processes' stores of one folder, against a plain parser of its files."""

    opened: Bundle[Opened] = Bundle("opened")
    """Stores, each with the keys whose rows it must have."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="graft-test-")
        self.cache = FeatureCache(Path(self.directory.name), budget=8 * 1200)  # shards of 20 rows, 8 of them

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(target=opened)
    def open(self) -> Opened:
        store = FeatureStore(self.cache, {"trunk": "t"}, (8,), np.dtype(np.float16))
        return store, set(parse_files(store.folder))

    @rule(one=opened)
    def refresh(self, one: Opened) -> None:
        store, known = one
        store.refresh()
        known |= set(parse_files(store.folder))

    @rule(one=opened, numbers=st.lists(st.integers(0, 60), max_size=40), view=st.integers(0, 1))
    def compute(self, one: Opened, numbers: list[int], view: int) -> None:
        store, known = one
        with store.lock():
            known |= set(parse_files(store.folder))
            absent = missing(store, dict.fromkeys(numbers), view)
            store.append(digests(absent), view, make_rows(absent, view), 0.5)
            known |= {(number.to_bytes(32, "big"), view) for number in numbers}
            np.testing.assert_array_equal(read(store, numbers, view), make_rows(numbers, view))

    @rule(one=opened)
    def empty(self, one: Opened) -> None:
        self.cache.empty()

    @rule(one=opened, values=st.integers(0, 40), record=st.integers(0, 43))
    def die_while_appending(self, one: Opened, values: int, record: int) -> None:
        """A writer leaves rows without records, and a part of a record."""
        for index in one[0].folder.glob("*.index"):
            with index.with_suffix(".rows").open("ab") as file:
                file.write(b"\x17" * values)
            with index.open("ab") as file:
                file.write(b"\x18" * record)

    @rule(one=opened)
    def find_all_that_is_known(self, one: Opened) -> None:
        store, known = one
        for view in (0, 1):
            there = [number for number in range(61) if (number.to_bytes(32, "big"), view) in known]
            np.testing.assert_array_equal(read(store, there, view), make_rows(there, view))
            nowhere = list(range(61, 70))
            assert missing(store, nowhere, view) == nowhere


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
