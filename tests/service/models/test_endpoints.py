"""HTTP of models: names that move atomically, with history; what they point at is not deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sqlalchemy import update

from models.runtime.checkpoint_file import write
from service.checkpoints.errors import CheckpointNotFound
from service.errors import GraftError
from service.keys import repository as keys
from service.keys.scopes import Scope
from service.models import repository
from service.models.errors import ModelNotFound
from service.tables import Job
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database


@pytest.fixture
def checkpoints(db: Database, tmp_path: Path) -> list[str]:
    """The ids of three checkpoints of a job that has succeeded."""
    add_job(db)
    found = []
    for number in range(3):
        write(tmp_path / "a", {"head": torch.full((7,), float(number))}, {})
        found.append(store_and_publish(db, tmp_path / "a").id)
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    return found


def put(client: TestClient, name: str, checkpoint: str) -> Any:
    """Make a name point at a checkpoint."""
    return client.put(f"/v1/models/{name}", json={"checkpoint": checkpoint})


def list_targets(client: TestClient, name: str) -> list[str | None]:
    """List what a name has pointed at."""
    return [move["checkpoint"] for move in client.get(f"/v1/models/{name}/history").json()["data"]]


def test_a_name_is_made_moved_listed_and_deleted(client: TestClient, checkpoints: list[str]) -> None:
    first, second, _ = checkpoints
    made = put(client, "flowers", first)
    assert made.status_code == 200
    body = made.json()
    assert (body["name"], body["checkpoint"], body["job"], body["classes"]) == ("flowers", first, "job_1", ["a", "b"])
    assert put(client, "Waste.v2", second).status_code == 200
    assert client.get("/v1/models/flowers").json() == body
    listed = client.get("/v1/models?limit=1").json()
    assert listed["has_more"] is True
    rest = client.get(f"/v1/models?after={listed['last_id']}").json()["data"]
    assert {model["name"] for model in [*listed["data"], *rest]} == {"flowers", "Waste.v2"}

    assert put(client, "flowers", second).json()["checkpoint"] == second
    assert put(client, "flowers", second).status_code == 200
    assert list_targets(client, "flowers") == [first, second], "what changes nothing is no move"
    assert client.get(f"/v1/checkpoints/{second}").json()["models"] == ["Waste.v2", "flowers"]

    assert client.delete("/v1/models/flowers").status_code == 204
    assert_problem(client.get("/v1/models/flowers"), 404, "model_not_found")
    assert_problem(client.delete("/v1/models/flowers"), 404, "model_not_found")
    assert list_targets(client, "flowers") == [first, second, None]
    assert put(client, "flowers", first).status_code == 200
    page = client.get("/v1/models/flowers/history?limit=2").json()
    assert [move["seq"] for move in page["data"]] == [1, 2]
    after = client.get(f"/v1/models/flowers/history?after={page['last_id']}").json()
    assert [move["checkpoint"] for move in after["data"]] == [None, first]


def test_what_is_wrong_is_named(client: TestClient, checkpoints: list[str]) -> None:
    assert_problem(put(client, "flowers", "ckpt_none"), 422, "checkpoint_unknown", "ckpt_none")
    assert_problem(client.get("/v1/models/flower"), 404, "model_not_found", "PUT /v1/models/NAME")
    put(client, "flowers", checkpoints[0])
    assert_problem(client.get("/v1/models/flower"), 404, "model_not_found", "Did you mean flowers?")
    assert_problem(client.get("/v1/models/other/history"), 404, "model_not_found", "other")
    for name in ("ckpt_1", "-a", "a b", "a" * 101, "ü"):
        response = put(client, name, checkpoints[0])
        assert response.status_code == 422, name
        assert response.json()["errors"][0]["loc"] == "path.name"
    assert client.put("/v1/models/a", json={}).status_code == 422
    assert client.put("/v1/models/a", json={"checkpoint": checkpoints[0], "when": "now"}).status_code == 422


def test_a_checkpoint_with_a_name_is_not_deleted(client: TestClient, checkpoints: list[str]) -> None:
    first, second, _ = checkpoints
    put(client, "flowers", first)
    for address in (f"/v1/checkpoints/{first}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_named", "flowers", first, "PUT /v1/models/flowers")
    put(client, "flowers", second)
    assert client.delete(f"/v1/checkpoints/{first}").status_code == 204
    assert list_targets(client, "flowers") == [first, second], "history outlives checkpoints"
    client.delete("/v1/models/flowers")
    assert client.delete("/v1/jobs/job_1").status_code == 204


def test_names_and_ids_find_checkpoints(client: TestClient, db: Database, checkpoints: list[str]) -> None:
    put(client, "flowers", checkpoints[1])
    with db.reading() as session:
        assert repository.find_checkpoint(session, "flowers").id == checkpoints[1]
        assert repository.find_checkpoint(session, checkpoints[2]).id == checkpoints[2]
        with pytest.raises(ModelNotFound, match="no model waste"):
            repository.find_checkpoint(session, "waste")
        with pytest.raises(CheckpointNotFound, match="no checkpoint ckpt_x"):
            repository.find_checkpoint(session, "ckpt_x")


def test_the_history_says_whose_key_it_was(client: TestClient, db: Database, checkpoints: list[str]) -> None:
    with db.writing() as session:
        key, _ = keys.create(session, "test", [Scope.WRITE])
    with db.writing() as session:
        repository.move(session, "flowers", checkpoints[0], created_by=key.id)
        repository.move(session, "flowers", checkpoints[1], created_by=None, job="job_1")
    moves = client.get("/v1/models/flowers/history").json()["data"]
    assert [(move["created_by"], move["job"]) for move in moves] == [(key.id, None), (None, "job_1")]
    assert client.get("/v1/models/flowers").json()["moved_by"] is None


def test_moves_at_the_same_time_come_one_after_another(db: Database, checkpoints: list[str]) -> None:
    def move(number: int) -> None:
        with db.writing() as session:
            repository.move(session, "flowers", checkpoints[number % 3], created_by=None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, range(48)))
    with db.reading() as session:
        moves = repository.find_moves(session, "flowers", after=0, limit=100)
        assert [one.seq for one in moves] == list(range(1, len(moves) + 1))
        assert all(one.checkpoint != other.checkpoint for one, other in pairwise(moves))
        assert repository.find_checkpoint(session, "flowers").id == moves[-1].checkpoint


def test_a_name_never_points_at_a_deleted_checkpoint(client: TestClient, db: Database, checkpoints: list[str]) -> None:
    def move_or_delete(number: int) -> int:
        if number % 2:
            return client.delete(f"/v1/checkpoints/{checkpoints[0]}").status_code
        try:
            with db.writing() as session:
                repository.move(session, "flowers", checkpoints[0], created_by=None)
        except GraftError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(move_or_delete, range(8)))
    assert answers <= {200, 204, 404, 409, 422}
    exists = client.get(f"/v1/checkpoints/{checkpoints[0]}").status_code == 200
    is_named = client.get("/v1/models/flowers").status_code == 200
    assert exists == is_named
