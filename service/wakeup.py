"""Wake-up messages to the workers, which claim from the database: a lost, doubled or late message does no harm."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

WAKE = "graft.wake"
"""Name of the Celery task, so that senders need not import the workers."""

TRANSPORT_OPTIONS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
"""Redis may be down or hang at any moment: with kombu's defaults a publish to one that hangs never returns."""


class Queue:
    """Queue of wake-up messages: a Celery broker, or nothing where workers only poll."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url

    def wake(self) -> None:
        """Wake one worker. Call it after the commit; it never raises."""
        if not self.broker_url:
            return
        try:
            self._celery.send_task(WAKE, ignore_result=True, retry=False)
        except Exception as error:  # whatever the broker does, the workers' own poll finds the work
            log.warning("no wake-up sent, workers will poll: %s", error)

    @cached_property
    def _celery(self) -> Celery:
        from celery import Celery  # 0.3 s to import, and not needed without a broker

        app = Celery(broker=self.broker_url)
        app.conf.update(broker_transport_options=TRANSPORT_OPTIONS, broker_connection_timeout=2)
        return app
