"""A checkpoint whose folder of the Hub is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.checkpoints import add_small_checkpoint
from tests.support.exported import add_export

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Flowers\n",
    "config.json": b'{"architecture": "test_resnet"}',
    "model.safetensors": bytes(range(256)) * 4000,
}


@pytest.fixture
def files() -> dict[str, bytes]:
    """Files of the export."""
    return FILES


@pytest.fixture
def bare(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint without an export."""
    return add_small_checkpoint(db, tmp_path)


@pytest.fixture
def checkpoint(db: Database, settings: Settings, bare: str, files: dict[str, bytes]) -> str:
    """The id of a checkpoint that is exported."""
    add_export(db, settings.storage, bare, files)
    return bare
