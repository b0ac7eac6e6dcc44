"""Settings without a database, for tests that get a database of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on a temporary folder."""
    return Settings(data=tmp_path)
