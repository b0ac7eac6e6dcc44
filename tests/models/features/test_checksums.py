"""Checksums of many rows: equal to zlib's of each row, and of their concatenation."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from models.features.checksums import combine_checksums, compute_checksums, verify_checksums


@pytest.mark.parametrize("row_bytes", [1, 3, 128, 4097])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64, 101])
def test_checksums_of_rows_and_of_their_concatenation_equal_zlibs(count: int, row_bytes: int) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (count, row_bytes), np.uint8)
    each = compute_checksums(rows)
    assert each.tolist() == [zlib.crc32(row.tobytes()) for row in rows]
    assert combine_checksums(each, row_bytes) == zlib.crc32(rows.tobytes())
    assert verify_checksums(rows, each).all()


def test_changed_rows_fail_verification() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 4, 3)).astype(np.float16)
    expected = compute_checksums(rows)
    rows[7, 2, 1] += 1
    expected[31] ^= 1 << 31
    assert np.flatnonzero(~verify_checksums(rows, expected)).tolist() == [7, 31]
