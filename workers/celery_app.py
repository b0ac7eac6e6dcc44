"""Celery's side of a worker: `celery -A workers.celery_app worker -P threads -c 3`. A message only wakes it."""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from service.settings import from_environment
from service.wakeup import TRANSPORT_OPTIONS, WAKE
from workers.worker import Runner

settings = from_environment()

app = Celery("graft", broker=settings.broker_url)
app.conf.update(
    # The database says what is done; a result backend would only repeat it.
    task_ignore_result=True,
    # Taken off the queue at once: a late acknowledgement would run long tasks again after the visibility timeout.
    task_acks_late=False,
    # A message held back behind a long task wakes nobody.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # Redis may be away for as long as it likes; meanwhile the worker polls.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={**TRANSPORT_OPTIONS, "socket_timeout": 5.0},
    task_publish_retry=False,
    worker_hijack_root_logger=False,
)

runner = Runner(settings)


@worker_ready.connect
def _start(**_: Any) -> None:
    threading.Thread(target=runner.run, name="poll").start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    runner.stop()


@app.task(name=WAKE)
def wake() -> None:
    """There is work: claim it and run it."""
    runner.claim_and_run()
