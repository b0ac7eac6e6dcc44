"""`python -m predictor`: a predictor until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import socket
import sys
from ipaddress import ip_address

import uvicorn

from models.runtime.tuning import TUNING
from predictor.registration import Registration
from predictor.server import create_app
from service import startup
from service.database import Database
from service.settings import Settings, from_environment

KEEP_ALIVE_SECONDS = 600
"""Time for which an idle connection of the API stays open: longer than the API keeps it."""

BACKLOG = 2048


def main() -> None:
    """Listen on a free port, register, and answer the API."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = from_environment()
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        startup.check(settings)
        startup.prepare_worker_folders(settings)
        listener = listen(settings)
    database = Database(settings.database)
    registration = Registration(database, find_address(listener))
    config = uvicorn.Config(
        create_app(database, settings, registration),
        log_level="warning",
        access_log=False,  # else its lines are put together and dropped
        timeout_graceful_shutdown=3,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        database.close()


def listen(settings: Settings) -> socket.socket:
    """Listen on a free port of GRAFT_PREDICTOR_HOST. Raises CannotStart."""
    host = settings.predictor_host
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.bind((host, 0))
        listener.listen(BACKLOG)  # from now on: the API may connect as soon as it reads the address
    except (OSError, UnicodeError) as error:
        raise startup.CannotStart(
            f"The predictor cannot listen on GRAFT_PREDICTOR_HOST={host}: {getattr(error, 'strerror', None) or error}. "
            "Set it to 127.0.0.1, or to an address of this machine in a private network that the API reaches."
        ) from None
    return listener


def find_address(listener: socket.socket) -> str:
    """Find the URL that the API reaches: on every interface, that of this machine's name."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = socket.gethostbyname(socket.gethostname())
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    if TUNING.keys() - os.environ.keys():
        os.environ.update({name: value for name, value in TUNING.items() if name not in os.environ})
        os.execv(sys.executable, [sys.executable, "-m", "predictor"])  # libraries read them when a process starts
    main()
