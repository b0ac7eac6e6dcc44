"""Checkpoints of every kind, trained once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.database import Database
from tests.support.predicting import Trained, train_all

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Checkpoints of all variants."""
    return train_all(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def stored(trained: Trained) -> Iterator[Database]:
    """The database of the checkpoints."""
    database = Database(trained.settings.database)
    yield database
    database.close()
