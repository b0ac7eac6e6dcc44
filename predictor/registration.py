"""Registration of a predictor: tells the database its address and its secret, and that it lives."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from service.database import describe_error
from service.predictions import repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Database

log = logging.getLogger(__name__)


class Registration:
    """Registers one predictor until it stops."""

    def __init__(self, database: Database, address: str) -> None:
        self.secret = secrets.token_hex(32)
        self._database, self._address = database, address
        self._id: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Register, and send heartbeats from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the heartbeats, and remove the row."""
        self._stopping.set()
        self._thread.join()
        self._try(self._remove)

    def _keep(self) -> None:
        while True:
            self._try(self._update)
            if self._stopping.wait(repository.HEARTBEAT_SECONDS):
                return

    def _update(self) -> None:
        with self._database.writing() as session:
            # After a long silence it may have been forgotten.
            if self._id is None or not repository.renew(session, self._id):
                self._id = repository.register(session, self._address, self.secret)

    def _remove(self) -> None:
        if self._id is not None:
            with self._database.writing() as session:
                repository.remove(session, self._id)

    @staticmethod
    def _try(act: Callable[[], None]) -> None:
        try:
            act()
        except SQLAlchemyError as error:
            log.warning("the database does not answer; trying again: %s", describe_error(error))
