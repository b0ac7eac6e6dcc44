"""Candidates that a job's attempts have tried, on both databases: each once, as it was tried last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from models.messages import CandidateTried
from service.jobs import repository
from service.tables import Event
from tests.support.jobs import add_jobs, begun
from workers.lease import fence

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings


def test_a_candidate_that_is_tried_again_takes_the_place_of_the_one_before(
    database: Database, settings: Settings
) -> None:
    add_jobs(database, 1)
    tried = CandidateTried(number=1, name="probe", recipe={"seed": 0}, is_better=True, validation_accuracy=0.5)
    left_out = CandidateTried(number=2, name="whole_network", recipe={}, reason="the time budget is used up")
    for accuracy in (0.5, 0.75):
        attempt, _ = begun(database, settings)
        events = (tried.model_copy(update={"validation_accuracy": accuracy}), left_out)
        with database.writing() as session:
            attempt.record(session, fence(session, attempt.claim), [one.model_dump_json().encode() for one in events])
    with database.reading() as session:
        rows = repository.find_candidates(session, attempt.claim.id)
        event = list(session.scalars(select(Event).order_by(Event.seq)))[-1]
        assert [(row.name, row.validation_accuracy, row.reason) for row in rows] == [
            ("probe", 0.75, None),
            ("whole_network", None, "the time budget is used up"),
        ]
        assert event.kind == "candidate_tried"
        assert event.message == "whole_network is left out: the time budget is used up"
        assert "recipe" not in event.data
