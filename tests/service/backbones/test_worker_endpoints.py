"""Workers: which live, and what they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import listings
from service.tables import Job
from tests.support.requests import create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database

LISTED = {"source": "local", "architecture": "a", "parameters": 1, "input_size": [3, 9, 9]}


def test_workers_are_listed_with_what_they_run(client: TestClient, db: Database, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    with db.writing() as session:
        listings.replace(session, "one.1.X", 60.0, [{"id": "local/own", **LISTED}])
        listings.replace(session, "two.2.X", -1.0, [])
        session.get_one(Job, job).worker = "one.1.X"
    page = client.get("/v1/workers").json()
    assert "data" in page, page
    shown = [(row["id"], row["host"], row["is_alive"], row["backbones"], row["job"]) for row in page["data"]]
    assert shown == [("one.1.X", "one", True, 1, job), ("two.2.X", "two", False, 0, None)]
    first = client.get("/v1/workers?limit=1").json()
    assert (first["has_more"], first["last_id"]) == (True, "one.1.X")
    assert client.get(f"/v1/workers?limit=1&after={first['last_id']}").json()["data"][0]["id"] == "two.2.X"
