"""HTTP of recommendations: requests, candidates by default, lists, cancelling, deletion and events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from service import queued_work
from service.recommendations import repository
from service.recommendations.creation import MOST_CANDIDATES
from service.statuses import BackboneStatus
from service.tables import Backbone, Job, RecommendationCandidate, RecommendationEvent
from tests.support.datasets import add_dataset
from tests.support.recommendations import start, succeed
from tests.support.requests import BACKBONES, assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def create(client: TestClient, dataset: str, *candidates: str, **options: Any) -> dict[str, Any]:
    named = {"candidates": list(candidates)} if candidates else {}
    response = client.post("/v1/backbones/recommend", json={"dataset": dataset, **named, **options})
    assert response.status_code == 202, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/recommendations/{made['id']}"
    return made


def test_a_request_is_queued(client: TestClient, dataset: str) -> None:
    made = create(client, dataset, *BACKBONES[:2], min_accuracy=0.8)
    assert made["id"].startswith("rec_")
    assert [each["backbone"] for each in made["candidates"]] == BACKBONES[:2]
    assert {value for each in made["candidates"] for name, value in each.items() if name != "backbone"} == {None}
    assert (made["status"], made["dataset"], made["min_accuracy"], made["attempt"]) == ("queued", dataset, 0.8, 0)
    assert client.get(f"/v1/recommendations/{made['id']}").json() == made
    (event,) = client.get(f"/v1/recommendations/{made['id']}/events").json()["data"]
    assert (event["kind"], event["id"]) == ("queued", f"{made['id']}.1")
    assert 'graft_recommendations{status="queued"} 1.0' in client.get("/metrics").text


def test_what_cannot_be_done_is_refused_by_name(client: TestClient, db: Database, dataset: str) -> None:
    def post(**body: Any) -> Any:
        return client.post("/v1/backbones/recommend", json={"dataset": dataset, "candidates": BACKBONES[:1], **body})

    assert_problem(post(dataset="ds_none"), 422, "dataset_unknown", "ds_none")
    assert_problem(post(dataset=add_dataset(db, "validating")), 422, "dataset_not_ready", "still being validated")
    unlabelled = add_dataset(db, task="unlabelled", classes=[])
    assert_problem(post(dataset=unlabelled), 422, "dataset_unlabelled", unlabelled)
    unknown = post(candidates=[BACKBONES[0], f"{BACKBONES[0]}x"])
    assert_problem(unknown, 422, "backbone_unknown", BACKBONES[0])
    assert unknown.json()["errors"][0]["loc"] == "body.candidates.1"
    assert_problem(post(candidates=["ckpt_none"]), 422, "backbone_unknown", "ckpt_none")
    twice = post(candidates=[BACKBONES[0], BACKBONES[0]])
    assert_problem(twice, 422, "candidate_named_twice", BACKBONES[0])
    many = post(candidates=[f"hf/a/b{number}" for number in range(MOST_CANDIDATES + 1)])
    assert_problem(many, 422, "too_many_candidates", str(MOST_CANDIDATES))
    for refused in (twice, many):
        assert [error["loc"] for error in refused.json()["errors"]] == ["body.candidates"]
    malformed: list[dict[str, Any]] = [{"candidates": []}, {"min_accuracy": 90}, {"recipe": {}}]
    for bad in malformed:
        assert_problem(post(**bad), 422, "invalid_request")


def test_by_default_candidates_are_those_at_hand(client: TestClient, db: Database, dataset: str) -> None:
    """Local ones, imported ones that are ready, and those that jobs have used, but no checkpoints."""
    with db.writing() as session:
        for name, source, status in (
            ("local/mine", "local", BackboneStatus.LISTED),
            ("bb_1", "upload", BackboneStatus.READY),
            ("bb_2", "upload", BackboneStatus.READY),
            ("bb_3", "upload", BackboneStatus.IMPORTING),
        ):
            session.add(Backbone(id=name, source=source, status=status, architecture="a", attempt=0, crashes=0))
        used = [(BACKBONES[1], 1.0), (BACKBONES[0], 2.0), (BACKBONES[1], 3.0), (BACKBONES[2], None), ("ckpt_1", 4.0)]
        for number, (name, started) in enumerate(used):
            session.add(
                Job(
                    id=f"job_{number}", status="succeeded", dataset_id=dataset, backbone=name, recipe={}, attempt=1,
                    crashes=0, started_at=started, event_seq=0,
                )
            )  # fmt: skip
    made = create(client, dataset)
    names = [each["backbone"] for each in made["candidates"]]
    assert names == ["local/mine", "local/own", "bb_2", "bb_1", BACKBONES[1], BACKBONES[0]]


def test_without_any_at_hand_candidates_must_be_named(client: TestClient, db: Database, dataset: str) -> None:
    with db.writing() as session:
        session.execute(delete(Backbone).where(Backbone.source == "local"))
    refused = client.post("/v1/backbones/recommend", json={"dataset": dataset})
    assert_problem(refused, 422, "no_candidates", "Name candidates")


def test_the_same_request_again_makes_no_second(client: TestClient, dataset: str) -> None:
    body, key = {"dataset": dataset, "candidates": BACKBONES[:1]}, {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/backbones/recommend", json=body, headers=key).json() for _ in range(2))
    assert first == second
    assert len(client.get("/v1/recommendations").json()["data"]) == 1


def test_a_list_is_paged_and_filtered(client: TestClient, db: Database, dataset: str) -> None:
    other = add_dataset(db)
    ids = [create(client, where, BACKBONES[0])["id"] for where in (other, dataset, dataset)][::-1]

    def find(query: str) -> list[str]:
        return [each["id"] for each in client.get(f"/v1/recommendations?{query}").json()["data"]]

    page = client.get("/v1/recommendations?limit=2").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:2], True)
    assert find(f"after={page['last_id']}") == ids[2:]
    assert find(f"dataset={other}") == ids[2:]
    client.post(f"/v1/recommendations/{ids[0]}/cancel")
    assert find("status=cancelled") == ids[:1]
    assert_problem(client.get("/v1/recommendations?after=job_1"), 422, "invalid_request")


def test_its_figures_are_told_and_reading_changes_nothing(client: TestClient, db: Database, dataset: str) -> None:
    made = create(client, dataset, *BACKBONES[:2])
    succeed(db, made["id"])
    found = client.get(f"/v1/recommendations/{made['id']}").json()
    assert (found["status"], found["recommended"], found["metric"]) == ("succeeded", BACKBONES[0], "accuracy")
    assert (found["constant"], found["sample"]) == (0.5, 100)
    best, failed = found["candidates"]
    assert (best["rank"], best["expected"], best["suffices"], best["latency_seconds"]) == (1, 0.9, True, 0.02)
    assert best["low"] < 0.9 < best["high"]
    assert (failed["rank"], failed["error"]["code"]) == (None, "backbone_unknown")
    assert client.get(f"/v1/recommendations/{made['id']}").json() == found


def test_one_that_has_ended_is_deleted_and_holds_no_dataset(client: TestClient, db: Database, dataset: str) -> None:
    made = create(client, dataset, BACKBONES[0])
    address = f"/v1/recommendations/{made['id']}"
    assert_problem(client.delete(address), 409, "recommendation_not_finished", "queued", "cancel")
    assert_problem(client.delete(f"/v1/datasets/{dataset}"), 409, "dataset_in_use", made["id"], "cancel")
    start(db, made["id"])
    assert client.post(f"{address}/cancel").json()["status"] == "cancelling"
    with db.writing() as session:
        queued_work.interrupt(session, repository.get(session, made["id"], lock=True))
    assert_problem(client.get("/v1/recommendations/rec_none"), 404, "recommendation_not_found", "rec_none")
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert client.get(address).json()["dataset"] == dataset
    assert client.delete(address).status_code == 204
    assert_problem(client.get(address), 404, "recommendation_not_found")
    with db.reading() as session:
        assert session.query(RecommendationEvent).count() == session.query(RecommendationCandidate).count() == 0


def test_nothing_is_being_measured_while_no_worker_has_it(client: TestClient, db: Database, dataset: str) -> None:
    made = create(client, dataset, BACKBONES[0])
    measuring = {"percent": 40.0, "candidate": BACKBONES[0], "eta_seconds": 3.0}
    start(db, made["id"])
    with db.writing() as session:
        repository.get(session, made["id"], lock=True).progress = measuring
    address = f"/v1/recommendations/{made['id']}"
    assert client.get(address).json()["progress"] == measuring
    with db.writing() as session:
        queued_work.requeue(session, repository.get(session, made["id"], lock=True), "drained", "", {})
    stopped = {"percent": 40.0, "candidate": None, "eta_seconds": None}
    assert client.get(address).json()["progress"] == stopped
    assert client.post(f"{address}/cancel").json()["progress"] == stopped


def test_events_are_streamed_until_it_ends(client: TestClient, db: Database, dataset: str) -> None:
    made = create(client, dataset, BACKBONES[0])
    succeed(db, made["id"])
    response = client.get(f"/v1/recommendations/{made['id']}/events", headers={"Accept": "text/event-stream"})
    events = [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
    assert [event["kind"] for event in events] == ["queued", "started", "succeeded"]
    assert_problem(client.post(f"/v1/recommendations/{made['id']}/cancel"), 409, "wrong_state", "succeeded")
