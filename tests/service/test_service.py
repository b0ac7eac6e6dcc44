"""What holds for every address: errors, bounds, health, the catalog, the list of backbones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.catalog.recipe import FAMILIES
from models.catalog.technique import members
from service.bodies import MOST_BYTES
from service.tables import Backbone
from tests.service.conftest import BACKBONES, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient

    from service.database import Database


def test_the_api_loads_no_torch_and_decodes_no_picture() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'PIL', 'numpy', 'celery', 'redis'}"
    run = f"import sys, service.app; sys.exit(bool({heavy} & sys.modules.keys()) and 1)"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=Path(__file__).parents[2])


def test_an_unknown_address_and_method_are_problems(client: TestClient) -> None:
    problem(client.get("/v1/nothing"), 404, "not_found", "/openapi.json")
    problem(client.put("/v1/jobs"), 405, "method_not_allowed", "PUT")


def test_an_error_of_our_own_says_nothing_of_the_inside(client: TestClient, db: Database) -> None:
    from sqlalchemy import text

    with db.writing() as session:
        session.execute(text("DROP TABLE epochs"))
        session.execute(text("DROP TABLE events"))
        session.execute(text("ALTER TABLE jobs RENAME TO gone"))
    body = problem(client.get("/v1/jobs"), 500, "internal_error")
    assert "gone" not in str(body)
    assert "sqlite" not in str(body).lower()


def test_large_bodies_are_refused_announced_or_not(client: TestClient) -> None:
    large = b"x" * (MOST_BYTES + 1)
    problem(client.post("/v1/jobs", content=large), 413, "content_too_large", "POST /v1/datasets")

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 65536] * 20

    headers = {"content-type": "application/json"}
    problem(client.post("/v1/jobs", content=chunks(), headers=headers), 413, "content_too_large")


def test_health_readiness_and_figures(client: TestClient, db: Database) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    figures = client.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    assert "graft_checkpoint_bytes 0.0" in figures.text
    with db.writing() as session:
        for name in BACKBONES:
            session.delete(session.get_one(Backbone, name))
    problem(client.get("/readyz"), 503, "backbones_not_listed", "No worker")


def test_the_catalog_is_that_of_the_recipe(client: TestClient) -> None:
    catalog = client.get("/v1/techniques").json()
    assert catalog["families"].keys() == FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert len(catalog["families"][name]) == len(members(family))
    adam = next(entry for entry in catalog["families"]["optimizers"] if entry["kind"] == "adam")
    assert "Kingma" in adam["description"]
    assert adam["fields"]["properties"]["beta1"]["default"] == 0.9
    assert "optimizer" in catalog["recipe"]["properties"]


def test_the_recipe_is_typed_in_the_document_of_the_interface(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"Recipe", "Adam", "EarlyStopping", "JobCreate"} <= schemas.keys()
    assert "minimum" in str(schemas["Recipe"]["properties"]["epochs"])


def test_backbones_are_found_by_name_source_and_size(client: TestClient) -> None:
    def names(**query: object) -> list[str]:
        return [backbone["name"] for backbone in client.get("/v1/backbones", params=query).json()["data"]]

    assert names() == sorted(BACKBONES)
    assert names(q="RESNET") == ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k"]
    assert names(q="100%_") == []
    assert names(source="local") == ["local/own"]
    assert names(max_params=2000) == ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k"]
    assert names(limit=1, after="timm/resnet18.a1_in1k") == ["timm/resnet50.a1_in1k"]
    problem(client.get("/v1/backbones/timm/none"), 404, "backbone_not_found")


def test_asking_for_a_backbone_has_a_worker_inspect_it(client: TestClient, db: Database) -> None:
    asked = client.get(f"/v1/backbones/{BACKBONES[0]}")
    assert asked.status_code == 200
    assert (asked.json()["name"], asked.json()["status"]) == (BACKBONES[0], "inspecting")
    with db.reading() as session:
        assert session.get_one(Backbone, BACKBONES[0]).status == "inspecting"
