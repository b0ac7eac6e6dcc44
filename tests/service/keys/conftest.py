"""An application that asks for API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.keys import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from service.database import Database
    from service.keys.scopes import Scope
    from service.settings import Settings


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """An application that asks for keys."""
    return create_app(settings.model_copy(update={"auth": "on"}))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client without a key."""
    with TestClient(app, "http://graft.example", raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def make_key(db: Database) -> Callable[..., str]:
    """Makes a key with scopes in the database; returns its secret."""

    def make(*scopes: Scope, expires_in: float | None = None) -> str:
        with db.writing() as session:
            return repository.create(session, "test", scopes, expires_in).secret

    return make
