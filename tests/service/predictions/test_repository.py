"""Heartbeats of predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from service.predictions import repository
from service.tables import Predictor, now

if TYPE_CHECKING:
    from service.database import Database


def set_silent(database: Database, predictor: str, seconds: float) -> None:
    """Set a predictor's last heartbeat back."""
    with database.writing() as session:
        session.execute(update(Predictor).where(Predictor.id == predictor).values(heartbeat_at=now() - seconds))


def test_a_predictor_lives_while_it_sends_heartbeats(database: Database) -> None:
    with database.writing() as session:
        assert not repository.had_lately(session)
        predictor = repository.register(session, "http://127.0.0.1:1", "secret")
    with database.reading() as session:
        assert [row.address for row in repository.find_alive(session)] == ["http://127.0.0.1:1"]
    set_silent(database, predictor, repository.DEAD_SECONDS + 1)
    with database.writing() as session:
        assert not repository.find_alive(session)
        assert repository.had_lately(session)
        assert repository.renew(session, predictor)
    with database.reading() as session:
        assert len(repository.find_alive(session)) == 1


def test_one_that_ends_is_forgotten_at_once_and_a_dead_one_later(database: Database) -> None:
    with database.writing() as session:
        ended, dead = (repository.register(session, "http://127.0.0.1:1", "secret") for _ in range(2))
    with database.writing() as session:
        repository.remove(session, ended)
    set_silent(database, dead, repository.FORGET_SECONDS + 1)
    with database.writing() as session:
        assert not repository.had_lately(session)
        repository.register(session, "http://127.0.0.1:2", "secret")
        assert not repository.renew(session, dead)
