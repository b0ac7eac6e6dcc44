"""Listings of backbones by several workers that live and die, on both databases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from service.backbones import listings, repository
from service.jobs import repository as jobs
from service.statuses import BackboneStatus
from service.tables import Backbone, Job, JobBackbone, Worker
from tests.support.backbones import build_listing
from tests.support.jobs import add_jobs, claim_job, try_claim

if TYPE_CHECKING:
    from service.database import Database


def replace(database: Database, *found: dict[str, Any], worker: str = "w") -> None:
    """A worker lists its backbones."""
    with database.writing() as session:
        listings.replace(session, worker, 60, found)


def read_names(database: Database) -> list[str]:
    """Read the names of all backbones."""
    with database.reading() as session:
        return list(repository.list_names(session))


def forget_dead(database: Database) -> None:
    """Do what maintenance does."""
    with database.writing() as session:
        listings.forget_dead(session)


def die(database: Database, worker: str, seconds: float) -> None:
    """Let a worker have died some time ago."""
    with database.writing() as session:
        session.get_one(Worker, worker).alive_until -= 60 + seconds


def test_the_table_holds_what_any_worker_lists(database: Database) -> None:
    replace(database, build_listing("local/a"), build_listing("local/b"), worker="first")
    replace(database, build_listing("local/b"), build_listing("local/c"), worker="second")
    assert read_names(database) == ["local/a", "local/b", "local/c"]
    replace(database, build_listing("local/d"), worker="first")
    assert read_names(database) == ["local/b", "local/c", "local/d"]


def test_backbones_of_a_worker_that_ends_are_removed_when_the_next_lists_its_own(database: Database) -> None:
    replace(database, build_listing("local/a"), worker="first")
    with database.writing() as session:
        listings.forget(session, "first")
    assert read_names(database) == ["local/a"], "it may be restarting"
    replace(database, build_listing("local/b"), worker="second")
    assert read_names(database) == ["local/b"]


def test_backbones_of_a_dead_worker_vanish_after_a_while(database: Database) -> None:
    replace(database, build_listing("local/a"), worker="dead")
    replace(database, build_listing("local/b"), worker="alive")
    die(database, "dead", listings.FORGET_SECONDS - 30)
    forget_dead(database)
    assert read_names(database) == ["local/a", "local/b"]
    die(database, "dead", 60)
    forget_dead(database)
    assert read_names(database) == ["local/b"]


def test_without_any_worker_the_list_stays(database: Database) -> None:
    replace(database, build_listing("timm/a"), worker="dead")
    die(database, "dead", 2 * listings.FORGET_SECONDS)
    forget_dead(database)
    assert read_names(database) == ["timm/a"]


def test_a_worker_that_was_forgotten_is_not_renewed(database: Database) -> None:
    replace(database)
    with database.writing() as session:
        assert listings.renew(session, "w", 60)
        assert not listings.renew(session, "another", 60)
        listings.forget(session, "w")
        assert not listings.renew(session, "w", 60)


def test_a_job_says_that_no_living_worker_can_run_it(database: Database) -> None:
    add_jobs(database, 1, backbone="local/a")

    def find() -> dict[str, str]:
        with database.reading() as session:
            job = session.get_one(Job, "job_000")
            return listings.find_lacking(session, [job], jobs.find_backbones(session, [job]))

    assert find() == {"job_000": "a worker: none is running"}
    replace(database, build_listing("local/a"), worker="has it")
    replace(database, worker="lacks it")
    assert find() == {}
    die(database, "has it", 1)
    assert find() == {"job_000": "a worker that has local/a: none that is running has it"}
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET backbone = 'hf/some/net'"))
    assert find() == {}
    claim_job(database)
    die(database, "lacks it", 1)
    assert find() == {}, "it is running"


def test_a_job_of_several_backbones_goes_to_a_worker_that_has_all_of_them(database: Database) -> None:
    add_jobs(database, 1, backbone="local/a")
    with database.writing() as session:
        names = enumerate(("local/a", "hf/some/net", "local/b"))
        session.add_all(JobBackbone(job_id="job_000", position=place, backbone=name) for place, name in names)
    replace(database, build_listing("local/a"), worker="one")
    replace(database, build_listing("local/b"), worker="other")
    with database.reading() as session:
        job = session.get_one(Job, "job_000")
        lacking = listings.find_lacking(session, [job], jobs.find_backbones(session, [job]))
    assert lacking == {"job_000": "a worker that has local/a and local/b: none that is running has them all"}
    assert try_claim(database, "one") is None
    assert try_claim(database, "other") is None
    replace(database, build_listing("local/a"), build_listing("local/b"), worker="both")
    with database.reading() as session:
        job = session.get_one(Job, "job_000")
        assert listings.find_lacking(session, [job], jobs.find_backbones(session, [job])) == {}
    assert claim_job(database, "both").id == "job_000"


def test_workers_that_start_at_once_list_without_error(database: Database) -> None:
    errors: list[Exception] = []
    ready = threading.Barrier(4)

    def start(worker: str) -> None:
        ready.wait()
        try:
            replace(database, *(build_listing(f"local/{number}") for number in range(300)), worker=worker)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.reading() as session:
        assert len(session.scalars(select(Worker)).all()) == 4


@pytest.mark.parametrize(
    ("status", "parameters", "then"),
    [
        ("inspected", 1000, "inspected"),
        ("inspected", 2000, "listed"),
        ("failed", 1000, "failed"),
        ("failed", 2000, "listed"),
        ("inspecting", 1000, "inspecting"),
    ],
)
def test_an_inspection_is_kept_while_the_backbone_stays_the_same(
    database: Database, status: str, parameters: int, then: str
) -> None:
    replace(database, build_listing("local/a"))
    with database.writing() as session:
        row = session.get_one(Backbone, "local/a")
        row.status, row.inspection, row.crashes = BackboneStatus(status), {"cuts": []}, 2
    replace(database, build_listing("local/a", parameters))
    with database.reading() as session:
        row = session.get_one(Backbone, "local/a")
        assert (row.status, row.parameters) == (then, parameters)
        assert (row.inspection is None, row.crashes) == ((True, 0) if then == "listed" else (False, 2))
