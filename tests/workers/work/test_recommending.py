"""Attempts at recommendations: a child measures backbones, and the rows tell."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from models.catalog.recipe import Recipe
from models.runtime.supervisor_callbacks import Context
from service import queued_work
from service.backbones import listings
from service.recommendations import creation, repository
from service.recommendations.schemas import Recommendation, RecommendationCreate
from service.settings import Settings
from service.tables import Recommendation as Row
from service.tables import RecommendationEvent
from tests.support.backbones import build_listing
from tests.support.datasets import add_dataset
from tests.support.small_backbone import write_backbone
from tests.support.small_job import CLASSES, Job, small_job
from workers import scratch
from workers.entrypoints import recommending
from workers.lease import Claim, claim, fence
from workers.supervisor import Supervisor
from workers.work.recommending import Measured, RecommendationAttempt, RecommendationOrder, Unusable

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database

NAMES = ["local/small", "local/other"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on the dataset and the cache of the recommendation."""
    write_backbone(tmp_path / "backbones" / "other", "test_resnet")
    write_backbone(tmp_path / "backbones" / "small")
    return small_job(tmp_path).change(recipe=Recipe())


@pytest.fixture
def settings(job: Job, database: Database, tmp_path: Path) -> Settings:
    """Settings of a worker that lists the backbones."""
    with database.writing() as session:
        listings.replace(session, "w", 60.0, [build_listing(name) for name in [*NAMES, "local/broken"]])
    classes = [{"name": name, "count": 30} for name in CLASSES]
    add_dataset(database, id="ds_1", pack="small.pack", index="small.index", classes=classes, images=90)
    return Settings(
        data=tmp_path,
        database_url=database.url,
        storage_url=tmp_path.as_uri(),
        backbones=job.spec.local_backbones,
        cache_dir=job.spec.cache,
        device="cpu",
        max_crashes=2,
    )


def create(database: Database, *candidates: str) -> str:
    with database.writing() as session:
        asked = RecommendationCreate(dataset="ds_1", candidates=list(candidates))
        return creation.create_recommendation(session, asked).id


def take(database: Database, worker: str = "w") -> Claim[Row]:
    with database.writing() as session:
        held = claim(session, Row, "queued", "running", worker, 60)
    assert held is not None
    return held


def begin(database: Database, settings: Settings) -> tuple[Claim[Row], RecommendationAttempt, RecommendationOrder]:
    """Claim it and start an attempt, without a child."""
    held = take(database)
    attempt = RecommendationAttempt(database, settings, held)
    attempt.fetch_inputs()
    with database.writing() as session:
        order = attempt.start(session, fence(session, held))
    return held, attempt, order


def read(database: Database, recommendation: str) -> Recommendation:
    with database.reading() as session:
        row = repository.get(session, recommendation)
        return Recommendation.from_row(row, repository.find_candidates(session, [row.id])[row.id])


def run(database: Database, settings: Settings) -> Recommendation:
    """Claim it and run an attempt; what the API tells after that."""
    held = take(database)
    Supervisor(database, settings, held, RecommendationAttempt(database, settings, held), threading.Event()).run()
    assert not scratch.choose_folder(settings.scratch, held).exists()
    return read(database, held.id)


def kinds(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(RecommendationEvent.kind).order_by(RecommendationEvent.seq)))


def test_candidates_are_ranked_and_a_job_finds_their_features(database: Database, settings: Settings, job: Job) -> None:
    create(database, "local/broken", *NAMES)
    found = run(database, settings)
    assert (found.status, found.error, found.metric) == ("succeeded", None, "accuracy")
    assert (found.progress.percent, found.progress.candidate) == (100.0, None)
    first, second, broken = found.candidates
    assert (first.rank, second.rank, broken.rank) == (1, 2, None)
    assert {first.backbone, second.backbone} == set(NAMES)
    assert broken.error is not None
    assert broken.error["code"] == "backbone_unknown"
    assert found.recommended == first.backbone
    for ranked in (first, second):
        assert ranked.expected is not None
        assert ranked.low is not None
        assert ranked.high is not None
        assert ranked.low <= ranked.expected <= ranked.high
        assert ranked.seconds is not None
        assert ranked.latency_seconds is not None
        assert 0 < ranked.latency_seconds < ranked.seconds
    assert kinds(database) == ["queued", "started", "unusable", "measured", "measured", "succeeded"]


def test_it_resumes_behind_the_candidates_that_are_measured(database: Database, settings: Settings) -> None:
    create(database, *NAMES)
    held, attempt, order = begin(database, settings)
    for message in recommending.work(order, Context()):
        with database.writing() as session:
            assert not attempt.record(session, fence(session, held), [message.model_dump_json().encode()])
        if isinstance(message, Measured):
            break  # as by kill -9
    with database.writing() as session:
        session.execute(update(Row).values(lease_until=1.0))
    measured = read(database, held.id).candidates[0]
    assert (measured.backbone, measured.rank) == (NAMES[0], 1)
    found = run(database, settings)
    assert (found.status, found.attempt) == ("succeeded", 2)
    assert measured.seconds in [ranked.seconds for ranked in found.candidates], "it is not measured again"
    assert kinds(database) == ["queued", "started", "measured", "crashed", "started", "measured", "succeeded"]
    with database.reading() as session:
        (started,) = queued_work.find_events(session, held.id, 4, 1, table=Row)
    assert (started.message, started.data) == (
        "Attempt 2 started, after 1 of 2 backbones",
        {"attempt": 2, "candidates": 1},
    )


@pytest.mark.parametrize("candidate", [NAMES[0], "local/broken"])
def test_it_ends_in_the_transaction_of_its_last_candidate(
    database: Database, settings: Settings, candidate: str
) -> None:
    """A worker that dies or stops after it leaves nothing to be claimed."""
    recommendation = create(database, candidate)
    held, attempt, order = begin(database, settings)
    for message in recommending.work(order, Context()):
        with database.writing() as session:
            is_over = attempt.record(session, fence(session, held), [message.model_dump_json().encode()])
        assert is_over == isinstance(message, Measured | Unusable)
    assert read(database, recommendation).status == ("succeeded" if candidate == NAMES[0] else "failed")
    with database.writing() as session:
        assert claim(session, Row, "queued", "running", "w", 60) is None


def test_a_candidate_that_keeps_crashing_is_left_out(database: Database, settings: Settings) -> None:
    create(database, *NAMES)
    for _ in range(2):  # workers die with the first
        take(database)
        with database.writing() as session:
            session.execute(update(Row).values(lease_until=1.0))
    left_out = run(database, settings)
    assert left_out.status == "queued"
    found = run(database, settings)
    assert (found.status, found.recommended) == ("succeeded", NAMES[1])
    assert found.candidates[1].error is not None
    assert found.candidates[1].error["code"] == "worker_died"


def test_where_no_candidate_can_be_measured_it_fails(database: Database, settings: Settings) -> None:
    create(database, "local/broken")
    found = run(database, settings)
    assert (found.status, found.recommended, found.advice) == ("failed", None, None)
    assert found.error is not None
    assert found.error["code"] == "no_candidate_usable"


def test_it_is_claimed_by_workers_that_can_load_a_candidate(database: Database, settings: Settings) -> None:
    create(database, NAMES[0])
    with database.writing() as session:
        listings.replace(session, "other", 60.0, [build_listing("local/else")])
        assert claim(session, Row, "queued", "running", "other", 60) is None
        assert claim(session, Row, "queued", "running", "w", 60) is not None


def test_a_cancelled_one_ends_where_it_is(database: Database, settings: Settings) -> None:
    recommendation = create(database, *NAMES)
    held = take(database)
    with database.writing() as session:
        queued_work.cancel(session, repository.get(session, recommendation, lock=True))
    Supervisor(database, settings, held, RecommendationAttempt(database, settings, held), threading.Event()).run()
    assert read(database, recommendation).status == "cancelled"
    assert kinds(database) == ["queued", "cancelled"]
