"""Events as they happen: a stream replays what was, gives what happens, and ends with the job."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from service.tables import Job
from tests.support.jobs import add_events
from tests.support.requests import assert_problem, create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


@pytest.mark.parametrize("wrong", ["5", "job_other.5", "x" * 5000, "9" * 5000])
def test_a_stream_from_an_unknown_position_is_refused(client: TestClient, dataset: str, wrong: str) -> None:
    job = create_job(client, dataset)["id"]
    headers = {"accept": "text/event-stream", "last-event-id": wrong}
    assert_problem(client.get(f"/v1/jobs/{job}/events", headers=headers), 422, "position_unknown")


def test_a_stream_ends_when_the_job_is_deleted(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    address, headers = f"/v1/jobs/{job}/events", {"accept": "text/event-stream"}
    reader = threading.Thread(target=lambda: client.get(address, headers=headers))
    reader.start()
    time.sleep(0.6)  # by then it has looked for news; should it come later, it finds no job, and ends all the same
    with db.writing() as session:
        session.delete(session.get_one(Job, job))
    reader.join(20)
    assert not reader.is_alive()


def streamed(client: TestClient, job: str, **headers: str) -> list[dict[str, Any]]:
    """All events of a stream, which must end by itself."""
    with client.stream("GET", f"/v1/jobs/{job}/events", headers={"accept": "text/event-stream", **headers}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]


def test_a_stream_replays_earlier_events_and_ends_with_the_job(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    add_events(db, job, 1200)
    client.post(f"/v1/jobs/{job}/cancel")
    events = streamed(client, job)
    assert [event["seq"] for event in events] == list(range(1, 1203))
    assert events[-1]["kind"] == "cancelled"
    assert [event["seq"] for event in streamed(client, job, **{"last-event-id": f"{job}.1200"})] == [1201, 1202]
    assert streamed(client, job, **{"last-event-id": f"{job}.1202"}) == []


def test_a_stream_sends_events_as_they_happen(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    found: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: found.extend(streamed(client, job)))
    reader.start()
    for _ in range(3):
        add_events(db, job, 10)
    client.post(f"/v1/jobs/{job}/cancel")
    reader.join(20)
    assert [event["seq"] for event in found] == list(range(1, 33))
