"""A server that misbehaves, and a client of it."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support.misbehaving_server import Handler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[type[Handler]]:
    """A server; its `answers` are to be filled, and `url` is where it is."""
    handler = type("TheHandler", (Handler,), {"answers": {}, "asked": []})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{listener.server_address[1]}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield handler
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def client(server: type[Handler], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of it that does not wait between tries."""
    monkeypatch.setattr("graft.client.PAUSE_SECONDS", 0.0)
    with Client(server.url) as client:  # type: ignore[attr-defined]
        yield client
