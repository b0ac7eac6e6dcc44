"""Candidates of a job: the best, and the Pareto front among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.jobs import repository
from service.jobs.candidates import build_candidates
from service.jobs.intervals import compute_interval
from service.tables import Candidate
from tests.support.jobs import make_candidate
from tests.support.requests import create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def make_row(number: int, **fields: object) -> Candidate:
    """A candidate's row."""
    return Candidate(job_id="job_1", **{**make_candidate(number), **fields})


def test_the_last_that_was_better_is_the_best() -> None:
    rows = [make_row(1), make_row(2), make_row(3, is_better=False)]
    assert [one.is_best for one in build_candidates(rows)] == [False, True, False]


def test_on_the_pareto_front_are_those_that_no_other_beats_in_everything() -> None:
    rows = [
        make_row(1, validation_accuracy=0.7, seconds=10.0),
        make_row(2, validation_accuracy=0.9, seconds=100.0),
        make_row(3, validation_accuracy=0.8, seconds=200.0),
        make_row(4, validation_accuracy=0.8, seconds=200.0, checkpoint_bytes=10),
        make_row(5, validation_accuracy=0.9, seconds=100.0),
        make_row(6, validation_accuracy=None, seconds=0.0, reason="the job was stopped", is_better=False),
    ]
    assert [one.is_pareto for one in build_candidates(rows)] == [True, True, False, True, True, False]


def test_accuracies_have_intervals_of_the_validation_images() -> None:
    tried, left_out = build_candidates([make_row(1), make_row(2, validation_accuracy=None, reason="why")])
    assert tried.validation_accuracy == compute_interval(0.5, 40)
    assert left_out.validation_accuracy is None
    assert (left_out.reason, left_out.id) == ("why", "job_1.2")


def test_candidates_are_listed_page_by_page(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset, recipe={"quality": "balanced"})["id"]
    assert client.get(f"/v1/jobs/{job}/candidates").json()["data"] == []
    with db.writing() as session:
        for number in (1, 2, 3):
            repository.put_candidate(session, job, make_candidate(number))
    page = client.get(f"/v1/jobs/{job}/candidates", params={"limit": 2}).json()
    assert [one["number"] for one in page["data"]] == [1, 2]
    assert page["has_more"]
    rest = client.get(f"/v1/jobs/{job}/candidates", params={"after": page["last_id"]}).json()
    assert [(one["id"], one["name"]) for one in rest["data"]] == [(f"{job}.3", "candidate_3")]
