"""GET and DELETE /v1/cache, with two machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.cache import repository

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def report(db: Database, host: str, size: int) -> None:
    with db.writing() as session:
        repository.report(session, f"id of {host}", host=host, folder="/cache", size=size, budget=1000)


def test_without_a_worker_there_is_no_cache(client: TestClient) -> None:
    body = client.get("/v1/cache").json()
    assert body == {
        "bytes": 0,
        "budget_bytes": 0,
        "hits": 0,
        "misses": 0,
        "saved_seconds": 0.0,
        "emptying": False,
        "caches": [],
    }


def test_caches_are_summed_and_listed_by_machine(client: TestClient, db: Database) -> None:
    report(db, "a", 10)
    report(db, "b", 20)
    report(db, "b", 30)  # grown since
    with db.writing() as session:
        repository.add_savings(session, "id of a", {"hits": 5, "misses": 3, "saved_seconds": 1.5})
        repository.add_savings(session, "id of a", {"hits": 1, "misses": 0, "saved_seconds": 0.25})
        repository.add_savings(session, "id of nobody", {"hits": 1, "misses": 0, "saved_seconds": 0.25})
    body = client.get("/v1/cache").json()
    assert {name: body[name] for name in ("bytes", "budget_bytes", "hits", "misses", "saved_seconds")} == {
        "bytes": 40,
        "budget_bytes": 2000,
        "hits": 6,
        "misses": 3,
        "saved_seconds": 1.75,
    }
    assert [(cache["host"], cache["bytes"], cache["hits"]) for cache in body["caches"]] == [("a", 10, 6), ("b", 30, 0)]
    assert body["caches"][0]["reported_at"].endswith("Z")


def test_emptying_is_requested_of_every_machine(client: TestClient, db: Database) -> None:
    report(db, "a", 10)
    report(db, "b", 20)
    answer = client.delete("/v1/cache")
    assert answer.status_code == 202
    assert [cache["emptying"] for cache in answer.json()["caches"]] == [True, True]
    with db.writing() as session:
        repository.mark_emptied(session, "id of a")
    body = client.get("/v1/cache").json()
    assert [cache["emptying"] for cache in body["caches"]] == [False, True]
    assert body["emptying"]
