"""The transitions of jobs: each leaves only the states that it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.errors import WrongState
from service.jobs import lifecycle, repository
from service.statuses import JobStatus
from tests.support.jobs import set_status
from tests.support.requests import create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def test_states_are_left_only_as_the_diagram_says(client: TestClient, dataset: str, db: Database) -> None:
    allowed = {
        "cancel": {"queued", "running", "cancelling", "cancelled", "pausing", "paused"},
        "pause": {"queued", "running", "pausing", "paused"},
        "resume": {"paused"},
        "stop": {"running"},
        "interrupt": {"cancelling", "pausing"},
        "start": {"running"},
        "succeed": {"running"},
        "fail": {"running"},
        "crash": {"running"},
        "drain": {"running"},
        "postpone": {"running"},
    }
    arguments: dict[str, dict[str, Any]] = {
        "succeed": {"stop_reason": "epochs_done", "metrics": {"test": {"accuracy": 1.0}}},
        "fail": {"code": "c", "message": "m"},
        "crash": {"cause": "c", "message": "m"},
        "postpone": {"cause": "c", "message": "m", "seconds": 1.0},
    }
    job = create_job(client, dataset)["id"]
    for name, states in allowed.items():
        for status in JobStatus:
            set_status(db, job, status)
            with db.writing() as session:
                row = repository.get(session, job, lock=True)
                transition = getattr(lifecycle, name)
                if status in states:
                    transition(session, row, **arguments.get(name, {}))
                else:
                    with pytest.raises(WrongState):
                        transition(session, row, **arguments.get(name, {}))
                    assert row.status == status


def test_a_job_without_images_to_test_on_succeeds_too(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    set_status(db, job, JobStatus.RUNNING)
    with db.writing() as session:
        row = repository.get(session, job, lock=True)
        metrics = {"validation": {"accuracy": 0.5}, "test": None}
        lifecycle.succeed(session, row, stop_reason="early_stopping", metrics=metrics)
    assert client.get(f"/v1/jobs/{job}").json()["metrics"]["test"] is None
    last = client.get(f"/v1/jobs/{job}/events").json()["data"][-1]
    assert last["message"] == "Succeeded: validation accuracy 50.0%"
