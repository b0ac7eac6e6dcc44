"""`python -m workers`: a worker until SIGTERM or SIGINT.

Every child that multiprocessing starts imports its parent's main module again, unless that is a `__main__.py`. With
the worker's own module in that place, each child imported all that a worker needs (measured: 2 cores, 0.1 s).
"""

from __future__ import annotations

import logging
import threading

from service.settings import from_environment
from workers.stop_signal import StopSignal
from workers.worker import Worker


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    worker = Worker(from_environment())
    signalled = StopSignal()

    def stop_when_signalled() -> None:
        signalled.wait()
        worker.stop()

    threading.Thread(target=stop_when_signalled, name="stop", daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
