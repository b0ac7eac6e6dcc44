"""Authentication: bearer keys and cookies, and pages of other sites that use a reader's browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.keys.scopes import Scope
from service.tables import ApiKey, Backbone
from tests.support.broken_database import broken_statements, connection_lost
from tests.support.datasets import add_dataset
from tests.support.requests import BACKBONE, assert_problem, build_job_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.database import Database
    from service.settings import Settings


def test_an_expired_key_is_refused(client: TestClient, make_key: Callable[..., str]) -> None:
    bearer = {"Authorization": f"Bearer {make_key(Scope.READ, expires_in=-1.0)}"}
    assert_problem(client.get("/v1/jobs", headers=bearer), 401, "key_expired", "new one")


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s.swapcase(), lambda _: "graft_x"])
def test_a_secret_that_is_nearly_one_is_refused(
    client: TestClient, make_key: Callable[..., str], change: Callable[[str], str]
) -> None:
    bearer = {"Authorization": f"Bearer {change(make_key(Scope.ADMIN))}"}
    assert_problem(client.get("/v1/jobs", headers=bearer), 401, "key_invalid")


def test_the_word_bearer_is_written_as_one_likes(client: TestClient, make_key: Callable[..., str]) -> None:
    secret = make_key(Scope.READ)
    assert client.get("/v1/jobs", headers={"Authorization": f"bearer  {secret} "}).status_code == 200
    assert_problem(client.get("/v1/jobs", headers={"Authorization": f"Basic {secret}"}), 401, "key_missing")


def test_the_last_use_is_recorded(client: TestClient, make_key: Callable[..., str]) -> None:
    bearer = {"Authorization": f"Bearer {make_key(Scope.ADMIN)}"}
    assert client.get("/v1/keys", headers=bearer).json()["data"][0]["last_used_at"] is not None


def test_secrets_are_not_stored(db: Database, make_key: Callable[..., str]) -> None:
    secret = make_key(Scope.READ)
    with db.reading() as session:
        (key,) = session.query(ApiKey).all()
        assert secret not in str(vars(key))
        assert secret.startswith(key.prefix)


def test_rows_name_the_key_that_made_them(client: TestClient, db: Database, make_key: Callable[..., str]) -> None:
    bearer = {"Authorization": f"Bearer {make_key(Scope.ADMIN)}"}
    (key,) = client.get("/v1/keys", headers=bearer).json()["data"]
    with db.writing() as session:
        session.add(
            Backbone(
                id=BACKBONE,
                source="timm",
                architecture="resnet18",
                parameters=1,
                input_size=[3, 224, 224],
                status="listed",
                attempt=0,
                crashes=0,
            )
        )
    job = client.post("/v1/jobs", json=build_job_request(add_dataset(db)), headers=bearer).json()
    assert job["created_by"] == key["id"]
    made = client.post("/v1/keys", json={"name": "other"}, headers=bearer).json()
    assert made["created_by"] == key["id"]
    dataset = client.post("/v1/datasets", content=b"PK\3\4" + bytes(30), headers=bearer).json()
    assert dataset["created_by"] == key["id"]


def test_a_page_sends_its_cookie_from_its_own_site_alone(client: TestClient, make_key: Callable[..., str]) -> None:
    client.cookies.set("graft_key", make_key(Scope.WRITE))
    assert client.get("/v1/jobs").status_code == 200
    own = {"Origin": "http://graft.example"}
    assert_problem(client.post("/v1/jobs", json={}, headers=own), 422, "invalid_request")
    for origin in ("http://evil.example", "null", "http://graft.example.evil.example", "http://graft.example:81"):
        assert_problem(client.post("/v1/jobs", json={}, headers={"Origin": origin}), 403, "origin_not_allowed")


def test_a_browser_without_a_key_is_shown_the_login(client: TestClient) -> None:
    response = client.get("/docs?x=1", headers={"Accept": "text/html,*/*"})
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=/docs%3Fx%3D1")


def test_a_database_that_does_not_answer_is_named(
    client: TestClient, db: Database, make_key: Callable[..., str]
) -> None:
    bearer = {"Authorization": f"Bearer {make_key(Scope.READ)}"}
    with broken_statements(db, 1, connection_lost()):
        assert_problem(client.get("/v1/jobs", headers=bearer), 503, "database_unavailable")


@pytest.fixture
def local(settings: Settings) -> Iterator[TestClient]:
    """A client of an application that listens on this machine alone, and asks for no key."""
    with TestClient(create_app(settings), "http://127.0.0.1:8000") as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "127.9.9.9"])
def test_names_of_this_machine_are_served(local: TestClient, host: str) -> None:
    assert local.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.0.2.1", ""])
def test_a_name_that_was_pointed_at_this_machine_is_refused(local: TestClient, host: str) -> None:
    assert_problem(local.get("/v1/jobs", headers={"Host": host}), 403, "host_not_allowed", "GRAFT_AUTH=on")
    assert local.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_changes_nothing_here(local: TestClient) -> None:
    sent = local.post("/v1/jobs", content=b"{}", headers={"Origin": "https://evil.example"})
    assert_problem(sent, 403, "origin_not_allowed", "https://evil.example")
    assert local.post("/v1/jobs", json={}, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 422


def test_off_serves_every_name(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"auth": "off"}))
    with TestClient(app, "http://graft.example") as client:
        assert client.get("/v1/jobs").status_code == 200
        body = {"backbone": BACKBONE, "recipe": {}}
        assert client.post("/v1/recipes/check", json=body).status_code in (422, 503)
