"""HTTP of backbones, and their table on both databases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from service.backbones import repository
from service.statuses import BackboneStatus
from service.tables import Backbone
from tests.support.requests import BACKBONES, assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def test_backbones_are_found_by_name_source_and_size(client: TestClient) -> None:
    def names(**query: object) -> list[str]:
        return [backbone["name"] for backbone in client.get("/v1/backbones", params=query).json()["data"]]

    assert names() == sorted(BACKBONES)
    assert names(q="RESNET") == ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k"]
    assert names(q="100%_") == []
    assert names(source="local") == ["local/own"]
    assert names(max_params=2000) == ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k"]
    assert names(limit=1, after="timm/resnet18.a1_in1k") == ["timm/resnet50.a1_in1k"]
    assert_problem(client.get("/v1/backbones/timm/none"), 404, "backbone_not_found")


def test_asking_for_a_backbone_has_a_worker_inspect_it(client: TestClient, db: Database) -> None:
    asked = client.get(f"/v1/backbones/{BACKBONES[0]}")
    assert asked.status_code == 200
    assert (asked.json()["name"], asked.json()["status"]) == (BACKBONES[0], "inspecting")
    with db.reading() as session:
        assert session.get_one(Backbone, BACKBONES[0]).status == "inspecting"


def test_one_of_the_hub_is_inspected_when_somebody_asks_and_listed_from_then_on(
    client: TestClient, db: Database
) -> None:
    name = "hf/somebody/flowers"
    asked = client.get(f"/v1/backbones/{name}")
    assert (asked.status_code, asked.json()["status"], asked.json()["architecture"]) == (200, "inspecting", None)
    assert client.get("/v1/backbones", params={"source": "hf"}).json()["data"] == []
    with db.writing() as session:
        row = session.get_one(Backbone, name)
        row.architecture, row.input_size = "resnet18", [3, 64, 64]
        row.end(session, "inspected")
    replace(db)
    assert [found["name"] for found in client.get("/v1/backbones").json()["data"]] == [name]
    assert client.get(f"/v1/backbones/{name}").json()["status"] == "inspected"
    assert_problem(client.get("/v1/backbones/hf/somebody"), 404, "backbone_not_found")
    assert_problem(client.get("/v1/backbones/hf/some/body/else"), 404, "backbone_not_found")


def test_an_inspection_that_failed_is_tried_again_later(client: TestClient, db: Database) -> None:
    with db.writing() as session:
        row = session.get_one(Backbone, BACKBONES[0])
        row.error = {"code": "weights_unavailable", "message": "The Hub cannot be reached."}
        row.end(session, "failed")
    assert client.get(f"/v1/backbones/{BACKBONES[0]}").json()["error"]["code"] == "weights_unavailable"
    with db.writing() as session:
        session.get_one(Backbone, BACKBONES[0]).finished_at = 1.0
    again = client.get(f"/v1/backbones/{BACKBONES[0]}").json()
    assert (again["status"], again["error"]) == ("inspecting", None)


def listing(name: str, parameters: int = 1000) -> dict[str, Any]:
    """A listing of a backbone by a worker."""
    return {
        "id": f"local/{name}",
        "source": "local",
        "architecture": "resnet18",
        "parameters": parameters,
        "input_size": [3, 64, 64],
        "licence": None,
    }


def replace(database: Database, *listings: dict[str, Any]) -> None:
    """A worker lists its backbones."""
    with database.writing() as session:
        repository.replace_listings(session, listings)


def test_the_table_holds_what_the_worker_lists(database: Database) -> None:
    replace(database, listing("a"), listing("b"))
    replace(database, listing("b"), listing("c"))
    with database.reading() as session:
        assert repository.list_names(session) == ["local/b", "local/c"]


def test_workers_that_start_at_once_list_without_error(database: Database) -> None:
    errors: list[Exception] = []
    ready = threading.Barrier(4)

    def start() -> None:
        ready.wait()
        try:
            replace(database, *(listing(str(number)) for number in range(300)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


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
    replace(database, listing("a"))
    with database.writing() as session:
        row = session.get_one(Backbone, "local/a")
        row.status, row.inspection, row.crashes = BackboneStatus(status), {"cuts": []}, 2
    replace(database, listing("a", parameters))
    with database.reading() as session:
        row = session.get_one(Backbone, "local/a")
        assert (row.status, row.parameters) == (then, parameters)
        assert (row.inspection is None, row.crashes) == ((True, 0) if then == "listed" else (False, 2))
