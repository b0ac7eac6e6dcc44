"""HTTP of backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import listings
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


def test_getting_a_backbone_changes_nothing_and_says_how_to_find_its_cuts(client: TestClient, db: Database) -> None:
    found = client.get(f"/v1/backbones/{BACKBONES[0]}").json()
    assert (found["status"], found["inspection"], found["input_size"]) == ("listed", None, [3, 224, 224])
    assert f"POST /v1/backbones/{BACKBONES[0]}/inspect" in found["hint"]
    with db.reading() as session:
        assert session.get_one(Backbone, BACKBONES[0]).status == "listed"
    unknown = client.get("/v1/backbones/hf/somebody/flowers")
    assert_problem(unknown, 404, "backbone_not_found", "POST /v1/backbones/hf/somebody/flowers/inspect")
    with db.reading() as session:
        assert session.get(Backbone, "hf/somebody/flowers") is None


def test_a_worker_inspects_a_backbone_on_request(client: TestClient, db: Database) -> None:
    for _ in range(2):
        asked = client.post(f"/v1/backbones/{BACKBONES[0]}/inspect")
        assert (asked.status_code, asked.headers["location"]) == (202, f"/v1/backbones/{BACKBONES[0]}")
        assert (asked.json()["name"], asked.json()["status"]) == (BACKBONES[0], "inspecting")
    with db.writing() as session:
        row = session.get_one(Backbone, BACKBONES[0])
        assert row.status == "inspecting"
        row.inspection = {"cuts": []}
        row.end(session, "inspected")
    for found in (client.get(f"/v1/backbones/{BACKBONES[0]}"), client.post(f"/v1/backbones/{BACKBONES[0]}/inspect")):
        assert (found.json()["status"], found.json()["inspection"]) == ("inspected", {"cuts": []})
        assert found.json()["hint"] is None
    assert_problem(client.post("/v1/backbones/timm/none/inspect"), 404, "backbone_not_found", "?q=")


def test_one_of_the_hub_is_inspected_on_request_and_listed_from_then_on(client: TestClient, db: Database) -> None:
    name = "hf/somebody/flowers"
    asked = client.post(f"/v1/backbones/{name}/inspect")
    assert (asked.status_code, asked.json()["status"], asked.json()["architecture"]) == (202, "inspecting", None)
    assert client.get("/v1/backbones", params={"source": "hf"}).json()["data"] == []
    with db.writing() as session:
        row = session.get_one(Backbone, name)
        row.architecture, row.input_size = "resnet18", [3, 64, 64]
        row.end(session, "inspected")
    with db.writing() as session:
        listings.replace(session, "w", 60, [])
    assert [found["name"] for found in client.get("/v1/backbones").json()["data"]] == [name]
    assert client.get(f"/v1/backbones/{name}").json()["status"] == "inspected"
    assert_problem(client.get("/v1/backbones/hf/somebody"), 404, "backbone_not_found")
    assert_problem(client.post("/v1/backbones/hf/some/body/else/inspect"), 404, "backbone_not_found")


def test_an_inspection_that_failed_is_tried_again_later(client: TestClient, db: Database) -> None:
    with db.writing() as session:
        row = session.get_one(Backbone, BACKBONES[0])
        row.error = {"code": "weights_unavailable", "message": "The Hub cannot be reached."}
        row.end(session, "failed")
    for found in (client.get(f"/v1/backbones/{BACKBONES[0]}"), client.post(f"/v1/backbones/{BACKBONES[0]}/inspect")):
        assert found.json()["error"]["code"] == "weights_unavailable"
        assert "try again" in found.json()["hint"]
    with db.writing() as session:
        session.get_one(Backbone, BACKBONES[0]).finished_at = 1.0
    again = client.post(f"/v1/backbones/{BACKBONES[0]}/inspect").json()
    assert (again["status"], again["error"]) == ("inspecting", None)
