"""Memory that this process may use."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from models.runtime import memory
from models.runtime.memory import get_memory_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_the_least_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = get_memory_bytes()
    assert there > 1 << 28
    unlimited, limited = tmp_path / "v2", tmp_path / "v1"
    unlimited.write_text("max\n")
    limited.write_text("1000000\n")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (unlimited, tmp_path / "absent", limited))
    assert get_memory_bytes() == 1_000_000
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (unlimited,))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (there // 2, hard))
    try:
        assert get_memory_bytes() <= there // 2
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.parametrize(("content", "is_limited"), [(f"{1 << 29}\n", True), ("max\n", False), (None, False)])
def test_a_container_has_the_memory_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, is_limited: bool
) -> None:
    if content is not None:
        (tmp_path / "memory.max").write_text(content)
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (tmp_path / "memory.max",))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory.measure_memory() == (1 << 29 if is_limited else machine)
