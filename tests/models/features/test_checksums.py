"""Checksums of many rows at once: the same as zlib's of each, and of all of them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from models.features.checksums import checksums, have_checksums, joined


@pytest.mark.parametrize("row_bytes", [1, 3, 128, 4097])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64, 101])
def test_checksums_of_rows_and_of_all_rows_together_are_those_of_zlib(count: int, row_bytes: int) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (count, row_bytes), np.uint8)
    each = checksums(rows)
    assert each.tolist() == [zlib.crc32(row.tobytes()) for row in rows]
    assert joined(each, row_bytes) == zlib.crc32(rows.tobytes())
    assert have_checksums(rows, each).all()


def test_rows_that_changed_are_told_from_those_that_have_not() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 4, 3)).astype(np.float16)
    expected = checksums(rows)
    rows[7, 2, 1] += 1
    expected[31] ^= 1 << 31
    assert np.flatnonzero(~have_checksums(rows, expected)).tolist() == [7, 31]
