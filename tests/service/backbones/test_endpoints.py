"""HTTP of backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from models.runtime.checkpoint_file import write
from service.backbones import listings
from service.tables import Backbone
from tests.support.backbones import build_listing
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.requests import BACKBONES, assert_problem

if TYPE_CHECKING:
    from pathlib import Path

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


def test_backbones_are_found_by_what_they_cost_and_how_good_they_are(client: TestClient, db: Database) -> None:
    with db.writing() as session:
        listed = [
            build_listing("timm/small", 10, accuracy=0.6, multiply_adds=50, licence="Apache-2.0"),
            build_listing("timm/large", 99, accuracy=0.85, multiply_adds=900, licence="cc-by-nc-4.0"),
            build_listing("timm/unknown", 10),
        ]
        listings.replace(session, "w", 60, listed)

    def names(**query: object) -> list[str]:
        return [backbone["name"] for backbone in client.get("/v1/backbones", params=query).json()["data"]]

    assert names(min_accuracy=0.7) == ["timm/large"]
    assert names(min_accuracy=0.5, max_params=50) == ["timm/small"]
    assert names(max_multiply_adds=50) == ["timm/small"]
    assert names(licence="apache-2.0") == ["timm/small"]
    assert names(licence="") == ["timm/large", "timm/small", "timm/unknown"]
    (small,) = client.get("/v1/backbones", params={"q": "small"}).json()["data"]
    assert (small["accuracy"], small["multiply_adds"]) == (0.6, 50)
    assert_problem(client.get("/v1/backbones", params={"min_accuracy": 76}), 422, "invalid_request")


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


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123abcd" * 5, "refs/pr/1"])
def test_one_of_the_hub_may_be_named_with_a_revision(client: TestClient, revision: str) -> None:
    name = f"hf/somebody/flowers@{revision}"
    asked = client.post(f"/v1/backbones/{name}/inspect")
    assert (asked.status_code, asked.json()["name"]) == (202, name)
    assert client.get(f"/v1/backbones/{name}").json()["status"] == "inspecting"
    assert_problem(client.post("/v1/backbones/hf/somebody/flowers@/inspect"), 404, "backbone_not_found")
    assert_problem(client.post("/v1/backbones/hf/somebody/flowers@a@b/inspect"), 404, "backbone_not_found")


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


def test_a_checkpoint_is_a_backbone_that_is_inspected_on_request_and_gone_with_it(
    client: TestClient, db: Database, tmp_path: Path
) -> None:
    add_job(db)
    write(tmp_path / "file", {"head": torch.ones(2)}, {})
    checkpoint = store_and_publish(db, tmp_path / "file").id
    address = f"/v1/backbones/{checkpoint}"
    found = client.get(address).json()
    assert (found["source"], found["status"], found["inspection"]) == ("checkpoint", "listed", None)
    assert f"POST {address}/inspect" in found["hint"]
    with db.reading() as session:
        assert session.get(Backbone, checkpoint) is None, "GET writes nothing"
    assert client.post(f"{address}/inspect").json()["status"] == "inspecting"
    assert client.get(address).json()["status"] == "inspecting"
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert_problem(client.get(address), 404, "backbone_not_found")
    assert_problem(client.post(f"{address}/inspect"), 404, "backbone_not_found")
