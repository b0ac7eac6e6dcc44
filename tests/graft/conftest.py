"""A server that misbehaves, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support.misbehaving_server import listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.misbehaving_server import Handler


@pytest.fixture
def server() -> Iterator[type[Handler]]:
    """A server; its `answers` are to be filled, and `url` is where it is."""
    with listen() as handler:
        yield handler


@pytest.fixture
def client(server: type[Handler], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of it that does not wait between tries."""
    monkeypatch.setattr("graft.connection.PAUSE_SECONDS", 0.0)
    with Client(server.url) as client:
        yield client
