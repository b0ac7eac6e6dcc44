"""A server of this process, run in a thread."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    import uvicorn


@contextmanager
def running(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> Iterator[None]:
    """Run a server until the block ends, however it ends."""
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        assert server.started, "it could not listen"
        yield
    finally:
        server.should_exit = True
        thread.join()
