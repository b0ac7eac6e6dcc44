"""A trained checkpoint for tests of work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.pipeline.fine_tune import fine_tune
from tests.support.small_job import small_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint of a small job, and the pack of its 90 images."""
    folder = tmp_path_factory.mktemp("trained")
    list(fine_tune(*small_job(folder, epochs=2)))
    return folder
