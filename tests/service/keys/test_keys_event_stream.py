"""An open event stream ends when the key that it was opened with is revoked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from service.event_stream import POLL_SECONDS
from service.keys import repository
from service.keys.scopes import Scope
from service.tables import ApiKey
from tests.support.jobs import add_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from service.database import Database


def test_a_stream_ends_when_its_key_is_revoked(client: TestClient, db: Database, make_key: Callable[..., str]) -> None:
    headers = {"accept": "text/event-stream", "Authorization": f"Bearer {make_key(Scope.READ)}"}
    add_jobs(db, 1)
    statuses: list[int] = []
    reader = threading.Thread(
        target=lambda: statuses.append(client.get("/v1/jobs/job_000/events", headers=headers).status_code)
    )
    reader.start()
    reader.join(4 * POLL_SECONDS)
    assert reader.is_alive()
    with db.writing() as session:
        (key,) = session.query(ApiKey).all()
        repository.revoke(session, key.id)
    reader.join(20)
    assert statuses == [200]
