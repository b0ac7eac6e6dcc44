"""CRC-32 of many rows at once: a million small rows are checked in a tenth of the time of a call for each.

CRC-32 is linear: crc(A B) = shift(crc(A)) ^ crc(B), where `shift`, a matrix over GF(2), depends only on the length of B
(crc32_combine of zlib). So the checksums of rows give that of all rows one after another.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np


def checksums(rows: np.ndarray) -> np.ndarray:
    """The CRC-32 of each of these rows (n, …), contiguous in memory: (n,) of uint32."""
    row_bytes = rows[:1].nbytes
    each = rows.reshape(-1).view(f"V{row_bytes}").tolist() if len(rows) else []
    return np.fromiter(map(zlib.crc32, each), np.uint32, len(rows))


def have_checksums(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether each of these rows (n, …), contiguous in memory, has its expected CRC-32 (n,): (n,) of bool."""
    if zlib.crc32(rows.data) == joined(expected, rows[:1].nbytes):
        return np.ones(len(rows), bool)
    fit: np.ndarray = checksums(rows) == expected
    return fit


def joined(crcs: np.ndarray, length: int) -> int:
    """The CRC-32 of blocks of `length` bytes one after another, by their CRC-32s, (n,) of uint32."""
    doublings = 0
    while len(crcs) > 1:
        if len(crcs) % 2:
            crcs = np.append(np.uint32(0), crcs)  # that of no bytes
        crcs = _shift(crcs[0::2], _tables(length, doublings)) ^ crcs[1::2]
        doublings += 1
    return int(crcs.sum())


def _shift(crcs: np.ndarray, tables: np.ndarray) -> np.ndarray:
    octets = np.ascontiguousarray(crcs, "<u4").view(np.uint8).reshape(-1, 4)
    low, second, third, high = (table.take(octets[:, place]) for place, table in enumerate(tables))
    shifted: np.ndarray = low ^ second ^ third ^ high
    return shifted


@lru_cache(256)
def _tables(length: int, doublings: int) -> np.ndarray:
    """What a shift by `length` bytes, doubled so often, makes of each value of each of the 4 bytes: (4, 256)."""
    if doublings:
        once = _tables(length, doublings - 1)
        bits = _shift(_shift(1 << np.arange(32, dtype=np.uint32), once), once)
    else:
        zeros = bytes(length)
        bits = np.array([zlib.crc32(zeros, 1 << bit) ^ zlib.crc32(zeros) for bit in range(32)], np.uint32)
    tables = np.zeros((4, 256), np.uint32)
    for bit, shifted in enumerate(bits):
        values, place = 1 << bit % 8, bit // 8
        tables[place, values : 2 * values] = tables[place, :values] ^ shifted
    return tables
