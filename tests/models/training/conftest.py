"""Fixtures of the tests of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """90 images of three classes."""
    return small_pack(tmp_path, classes=3, each=30)
