"""Hash table of rows: finds the same as a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features.row_index import MISSING, RowIndex, _hash_keys
from models.features.shard import RECORD


class Table:
    """An index, its records, and a dictionary of the same keys."""

    def __init__(self) -> None:
        self.records = np.empty(0, RECORD)
        self.newest: dict[tuple[bytes, int], int] = {}
        self.index = RowIndex(lambda rows: self.records[rows])

    def add(self, digests: np.ndarray, views: np.ndarray) -> None:
        """Add rows of these keys."""
        new = np.zeros(len(digests), RECORD)
        new["digest"], new["view"] = digests, views
        for row, key in enumerate(zip(digests.tolist(), views.tolist(), strict=True), len(self.records)):
            self.newest[key] = row
        self.records = np.concatenate([self.records, new])
        self.index.grow(len(self.records))

    def check(self, digests: np.ndarray, view: int) -> None:
        """Compare the index with the dictionary."""
        expected = [self.newest.get((digest, view), MISSING) for digest in digests.tolist()]
        assert self.index.find(digests, view).tolist() == expected
        few = range(min(len(digests), 200))
        assert [int(self.index.find(digests[row : row + 1], view)[0]) for row in few] == expected[: len(few)]


def draw_digests(count: int, seed: int = 0) -> np.ndarray:
    """Draw random digests, (count,)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8).view("V32")[:, 0]


def make_similar_digests(numbers: list[int]) -> np.ndarray:
    """Make digests that differ only in the first or the last byte."""
    digests = np.zeros((len(numbers), 32), np.uint8)
    for row, number in zip(digests, numbers, strict=True):
        row[31 if number % 2 else 0] = number // 2
    return digests.view("V32")[:, 0] if numbers else np.empty(0, "V32")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 1, 2**32 - 1])), max_size=60), max_size=5))
def test_the_index_finds_the_newest_row_of_each_key_as_a_dictionary_does(batches: list[list[tuple[int, int]]]) -> None:
    table = Table()
    for batch in batches:
        table.add(make_similar_digests([number for number, _ in batch]), np.array([view for _, view in batch], "<u4"))
        for view in (0, 1, 2**32 - 1):
            table.check(make_similar_digests(list(range(45))), view)


def test_the_table_grows_by_few_rows_and_by_many() -> None:
    table, digests = Table(), draw_digests(150_000)
    for first, end in ((0, 1), (1, 500), (500, 513), (513, 140_000)):
        table.add(digests[first:end], np.full(end - first, 3))
        table.check(digests[: end + 600], 3)
    table.check(digests, 2)
    again = np.random.default_rng(1).permutation(140_000)[:5000]
    table.add(digests[again], np.full(5000, 3))
    table.check(np.random.default_rng(2).permutation(digests), 3)


def test_keys_whose_hashes_collide_are_distinguished() -> None:
    digests = draw_digests(1_000_000)
    hashes = _hash_keys(digests, np.zeros(1, "<u4"))
    slot_and_tag = (hashes >> np.uint64(57) << np.uint64(32)) | (hashes % np.uint64(1024))  # of the smallest table
    values, counts = np.unique(slot_and_tag, return_counts=True)
    alike = digests[slot_and_tag == values[counts.argmax()]]
    assert len(alike) > 10
    table = Table()
    table.add(alike[:-3], np.zeros(len(alike) - 3, "<u4"))
    table.check(alike, 0)
    table.check(alike, 1)
    table.add(alike[::-1], np.zeros(len(alike), "<u4"))
    table.check(alike, 0)


def test_digests_that_share_most_of_their_bits_do_not_crowd_together() -> None:
    digests = np.zeros((4096, 4), ">u8")
    for word in range(4):
        digests[:, :] = 0
        digests[:, word] = np.arange(4096)
        slots = _hash_keys(digests.view("V32")[:, 0], np.zeros(1, "<u4")) % np.uint64(8192)
        assert np.bincount(slots.astype(int)).max() < 12, "as random digests do: 4096 in 8192 slots"
