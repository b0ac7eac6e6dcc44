"""Celery's tasks."""

from service.queue import WAKE
from workers.app import app, runner


@app.task(name=WAKE)
def wake() -> None:
    """There is work: claim it and run it."""
    runner.claim_and_run()
