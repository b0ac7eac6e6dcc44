"""Celery in a worker, where there is a broker: each message wakes the worker, which then looks into the database."""

from __future__ import annotations

import importlib
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.loaders.app import AppLoader
from celery.worker import state

from service.wakeup import TRANSPORT_OPTIONS, WAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery.worker import WorkController

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
"""Between the end of one Celery worker and the start of the next."""


class Loader(AppLoader):
    """Celery loader that imports installed packages only; Celery's own looks into the current folder first."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import a module from where packages are installed."""
        return importlib.import_module(module, package)


@contextmanager
def listening(broker_url: str, name: str, wake: Callable[[], None]) -> Iterator[None]:
    """Run a thread that takes messages off the queue and calls `wake` for each; `name` is this process's."""
    app = Celery("graft", broker=broker_url, loader=Loader)
    app.conf.update(
        # Redis may be away for as long as it likes; meanwhile the worker polls.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={**TRANSPORT_OPTIONS, "socket_timeout": 5.0},
        # Workers exchange no messages, and nobody controls them by messages.
        worker_enable_remote_control=False,
    )
    app.task(name=WAKE)(wake)
    stopping = threading.Event()
    state.should_stop = None
    first = _create_worker(app, name)  # here, so that an invalid address ends the process

    def listen() -> None:
        worker: WorkController | None = first
        while True:
            try:
                (worker or _create_worker(app, name)).start()
            except Exception:
                log.exception("Celery's worker failed")
            # A message that is no JSON ends it, for example: kombu raises, and reads no further.
            worker = None
            if stopping.wait(RESTART_SECONDS):
                return

    # A daemon, since it may wait for a broker that is away when the process ends.
    threading.Thread(target=listen, name="celery", daemon=True).start()
    try:
        yield
    finally:
        stopping.set()
        state.should_stop = 0  # type: ignore[assignment]  # an exit status, as Celery's own signal handlers set it


def _create_worker(app: Celery, name: str) -> WorkController:
    """Create a Celery worker that runs its tasks, which only wake, in the thread that receives them."""
    quiet = {"without_heartbeat": True, "without_gossip": True, "without_mingle": True}
    return app.WorkController(hostname=f"graft@{name}", pool="solo", **quiet)
