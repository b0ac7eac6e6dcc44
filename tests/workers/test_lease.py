"""Leases on both databases: one holder at a time, and no write by an earlier holder."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from service.backbones import listings
from service.tables import Job, now
from tests.support.backbones import build_listing
from tests.support.broken_database import broken_statements
from tests.support.jobs import add_jobs, claim_job, read_job, try_claim
from workers.lease import Lease, LeaseLost, fence, has_claimable

if TYPE_CHECKING:
    from service.database import Database


def test_the_oldest_is_claimed_first_and_only_once(database: Database) -> None:
    add_jobs(database, 2)
    first, second = claim_job(database), claim_job(database)
    assert (first.id, second.id) == ("job_000", "job_001")
    assert try_claim(database) is None
    row = read_job(database)
    assert (row.status, row.attempt, row.worker) == ("running", 1, "w")


def test_many_workers_claim_each_job_once(database: Database) -> None:
    add_jobs(database, 40)
    claims: list[str] = []

    def work(name: str) -> None:
        while (found := try_claim(database, name)) is not None:
            claims.append(found.id)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Rows that another worker has locked are skipped, so a worker may stop early; none is claimed twice.
    assert max(Counter(claims).values()) == 1
    while (left := try_claim(database)) is not None:
        claims.append(left.id)
    assert len(claims) == 40


def test_an_expired_lease_is_claimed_again_and_counts_as_a_crash(database: Database) -> None:
    add_jobs(database, 1)
    first = claim_job(database, "first", seconds=0.05)
    with database.reading() as session:
        assert not session.scalar(select(has_claimable(Job, "queued", "running", "w")))
    time.sleep(0.1)
    with database.reading() as session:
        assert session.scalar(select(has_claimable(Job, "queued", "running", "w")))
    second = claim_job(database, "second")
    assert (second.id, second.attempt, second.crashes) == (first.id, 2, 1)


def test_an_earlier_holder_can_write_nothing(database: Database) -> None:
    add_jobs(database, 1)
    old = claim_job(database, "old", seconds=0.01)
    time.sleep(0.05)
    new = claim_job(database, "new")
    with database.writing() as session, pytest.raises(LeaseLost):
        fence(session, old)
    with database.writing() as session:
        fence(session, new).phase = "training"
    assert read_job(database).phase == "training"


def test_a_fence_holds_until_its_transaction_ends(database: Database) -> None:
    """Two writers with the same attempt: the second waits for the first, and then loses."""
    add_jobs(database, 1)
    held = claim_job(database, seconds=0.01)
    time.sleep(0.05)
    order: list[str] = []
    fenced = threading.Event()

    def steal() -> None:
        fenced.wait()
        while try_claim(database, "thief") is None:
            pass
        order.append("stolen")

    thief = threading.Thread(target=steal)
    thief.start()
    with database.writing() as session:
        row = fence(session, held)
        fenced.set()
        time.sleep(0.3)
        row.phase = "storing"
        order.append("written")
    thief.join()
    assert order == ["written", "stolen"]
    assert (read_job(database).phase, read_job(database).attempt) == ("storing", 2)


def test_a_lease_is_kept_alive_while_it_is_held(database: Database) -> None:
    add_jobs(database, 1)
    held = claim_job(database, seconds=1.2)
    with Lease(database, held, 1.2) as lease:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert try_claim(database, "thief") is None
            time.sleep(0.05)
        assert lease.state == "held"


def test_the_holder_notices_a_cancelled_row_and_a_lost_lease(database: Database) -> None:
    add_jobs(database, 2)
    first, second = claim_job(database), claim_job(database)
    with Lease(database, first, 60) as cancelled, Lease(database, second, 60) as lost:
        with database.writing() as session:
            session.execute(update(Job).where(Job.id == first.id).values(status="cancelling"))
            session.execute(update(Job).where(Job.id == second.id).values(attempt=9))
        until = time.monotonic() + 10
        while (cancelled.state, lost.state) != ("cancelling", "lost") and time.monotonic() < until:
            time.sleep(0.02)
        assert (cancelled.state, lost.state) == ("cancelling", "lost")


@pytest.mark.parametrize(
    ("columns", "state"),
    [({"status": "pausing"}, "pausing"), ({"is_stopping": True}, "stopping")],
    ids=["paused", "stopped"],
)
def test_the_holder_notices_a_requested_pause_or_stop(database: Database, columns: dict[str, Any], state: str) -> None:
    add_jobs(database, 1)
    claim = claim_job(database)
    with Lease(database, claim, 60) as lease:
        with database.writing() as session:
            session.execute(update(Job).where(Job.id == claim.id).values(columns))
        until = time.monotonic() + 10
        while lease.state != state:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_postponed_job_is_not_claimed_before_its_time(database: Database) -> None:
    add_jobs(database, 1)
    with database.writing() as session:
        session.execute(update(Job).values(waits_until=now() + 60))
    assert try_claim(database) is None
    with database.writing() as session:
        session.execute(update(Job).values(waits_until=now() - 1))
    claim_job(database)
    assert read_job(database).waits_until is None


def test_the_next_claim_names_the_worker_that_died(database: Database) -> None:
    add_jobs(database, 1)
    claim_job(database, "dead", seconds=-1)
    assert claim_job(database, "the next").crashes == 1
    assert read_job(database).silent_worker == "dead"
    with database.writing() as session:
        session.get_one(Job, "job_000").release()
    claim_job(database)
    assert (read_job(database).crashes, read_job(database).silent_worker) == (1, None)


def test_jobs_are_claimed_by_priority_and_then_by_age(database: Database) -> None:
    add_jobs(database, 4)
    with database.writing() as session:
        session.execute(update(Job).where(Job.id == "job_002").values(priority=5))
        session.execute(update(Job).where(Job.id == "job_000").values(priority=-5))
    assert [claim_job(database).id for _ in range(4)] == ["job_002", "job_001", "job_003", "job_000"]


def test_only_the_databases_clock_counts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    add_jobs(database, 1)
    claim_job(database, seconds=60)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert try_claim(database, "from the future") is None
    with database.reading() as session:
        assert abs(session.scalars(now().select()).one() - time.clock_gettime(time.CLOCK_REALTIME)) < 5


def test_a_job_is_claimed_only_by_a_worker_that_has_its_backbone(database: Database) -> None:
    add_jobs(database, 1, backbone="local/a")
    with database.writing() as session:
        listings.replace(session, "has it", 60, [build_listing("local/a")])
        listings.replace(session, "lacks it", 60, [build_listing("local/b")])
    with database.reading() as session:
        assert not session.scalar(select(has_claimable(Job, "queued", "running", "lacks it")))
        assert session.scalar(select(has_claimable(Job, "queued", "running", "has it")))
    assert try_claim(database, "lacks it") is None
    assert try_claim(database, "has listed nothing yet") is None
    claim_job(database, "has it")


def test_a_renewal_that_is_not_answered_cuts_the_holder_off(database: Database) -> None:
    """Its lease runs out by the database's clock, however long the answer takes."""
    add_jobs(database, 1)
    held = claim_job(database, seconds=2)
    with Lease(database, held, 2) as lease, database.writing() as session:
        fence(session, held)  # the renewal has to wait for this transaction
        until = time.monotonic() + 20
        while lease.state != "cut_off":
            assert time.monotonic() < until
            time.sleep(0.02)
    assert lease.state == "cut_off", "an answer that comes late does not count"


def test_an_unexpected_error_does_not_end_the_watch(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    add_jobs(database, 1)
    held = claim_job(database)
    with broken_statements(database, 2, KeyError("a fault of ours")), Lease(database, held, 60) as lease:
        until = time.monotonic() + 20
        while caplog.text.count("a fault of ours") < 2 and time.monotonic() < until:
            time.sleep(0.02)
        with database.writing() as session:
            session.execute(update(Job).values(status="cancelling"))
        while lease.state != "cancelling":
            assert time.monotonic() < until
            time.sleep(0.02)
    assert "internal error" in caplog.text
