"""The memory that a child may take."""

from __future__ import annotations

import os

import pytest

from service.settings import Settings
from workers import memory_limit


@pytest.mark.parametrize(
    ("total", "workers", "most"),
    [(23 << 30, 1, 23 << 29), (64 << 30, 4, 8 << 30), (3 << 30, 1, 2 << 30), (1 << 30, 1, 1 << 30)],
)
def test_it_is_half_of_the_machine_shared_by_its_workers(
    monkeypatch: pytest.MonkeyPatch, total: int, workers: int, most: int
) -> None:
    monkeypatch.setattr(memory_limit, "measure_memory", lambda: total)
    assert memory_limit.choose_limit(Settings(workers=workers)) == most


def test_it_can_be_set() -> None:
    assert memory_limit.choose_limit(Settings(memory_bytes=5 << 30)) == 5 << 30


def test_the_memory_of_a_process_is_read() -> None:
    held = bytearray(b"x") * (64 << 20)
    assert memory_limit.read_resident_bytes(os.getpid()) > len(held)
    assert memory_limit.read_resident_bytes(2**22 + 1) == 0
