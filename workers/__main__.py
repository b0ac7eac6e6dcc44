"""`python -m workers`: a worker until SIGTERM or SIGINT.

Every child that multiprocessing starts imports its parent's main module again, unless that is a `__main__.py`. With
the worker's own module in that place, each child imported all that a worker needs (measured: 2 cores, 0.1 s).
"""

from __future__ import annotations

import logging
import sys
import threading

from service import startup
from service.settings import from_environment
from workers import device
from workers.child_process import start_fork_server
from workers.stop_signal import StopSignal
from workers.tracking.tracking import check_packages
from workers.worker import Worker

log = logging.getLogger(__name__)


def main() -> int:
    """Work until SIGTERM or SIGINT; returns the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = from_environment()
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        device.check_driver(settings.device)
        check_packages(settings)
        startup.check(settings)
        startup.prepare_worker_folders(settings)
        start_fork_server()
        device.check(settings.device)
    startup.warn_of_silent_broker(settings)
    worker = Worker(settings)
    signalled = StopSignal()

    def end_with_thread(error: threading.ExceptHookArgs) -> None:
        name = "a thread" if error.thread is None else error.thread.name
        log.critical("%s ended by an error, and the worker ends with it", name, exc_info=error.exc_value)
        worker.fail()

    threading.excepthook = end_with_thread

    def stop_when_signalled() -> None:
        signalled.wait()
        worker.stop()

    threading.Thread(target=stop_when_signalled, name="stop", daemon=True).start()
    worker.run()
    return 1 if worker.has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
