"""The whole API: errors, limits, health, the catalog, the list of backbones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.catalog.families import FAMILIES
from models.catalog.technique import members
from service.backbones import listings
from service.database import Database
from service.json_body import MAX_BYTES
from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from fastapi.testclient import TestClient


def test_the_api_loads_no_torch_and_decodes_no_image() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'PIL', 'numpy', 'celery', 'redis'}"
    run = f"import sys, service.app; sys.exit(bool({heavy} & sys.modules.keys()) and 1)"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=Path(__file__).parents[2])


def test_an_unknown_address_and_method_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/v1/nothing"), 404, "not_found", "/openapi.json")
    assert_problem(client.put("/v1/jobs"), 405, "method_not_allowed", "PUT")


def test_an_internal_error_reveals_no_details(client: TestClient, db: Database) -> None:
    broken = add_dataset(db, task="no task at all")
    body = assert_problem(client.get(f"/v1/datasets/{broken}"), 500, "internal_error")
    assert "no task" not in str(body)
    assert "pydantic" not in str(body).lower()


def test_an_unreachable_database_is_a_problem_of_its_own(client: TestClient, app: FastAPI, tmp_path: Path) -> None:
    app.state.database.close()
    app.state.database = Database("postgresql+psycopg://graft:secret@127.0.0.1:9/graft")
    for address in ("/v1/jobs", "/readyz", "/metrics"):
        response = client.get(address)
        body = assert_problem(response, 503, "database_unavailable", "again")
        assert response.headers["retry-after"] == "5"
        assert "127.0.0.1" not in str(body)
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "address",
    ["/v1/jobs/a%00b", "/v1/datasets/a%00b", "/v1/backbones/a%00b", "/v1/jobs?after=%00", "/v1/backbones?q=a%00"],
)
def test_a_nul_in_an_address_is_refused(client: TestClient, address: str) -> None:
    assert_problem(client.get(address), 400, "nul_in_address", "%00")


def test_a_number_too_large_for_the_database_is_refused(client: TestClient) -> None:
    assert_problem(client.get(f"/v1/backbones?max_params={10**20}"), 422, "invalid_request", "max_params")


def test_large_bodies_are_refused_with_and_without_a_length(client: TestClient) -> None:
    large = b"x" * (MAX_BYTES + 1)
    assert_problem(client.post("/v1/jobs", content=large), 413, "content_too_large", "POST /v1/datasets")

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 65536] * 20

    headers = {"content-type": "application/json"}
    assert_problem(client.post("/v1/jobs", content=chunks(), headers=headers), 413, "content_too_large")


def test_health_readiness_and_metrics(client: TestClient, db: Database) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    figures = client.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    assert "graft_checkpoint_bytes 0.0" in figures.text
    with db.writing() as session:
        listings.replace(session, "w", 60, [])
    assert_problem(client.get("/readyz"), 503, "backbones_not_listed", "No worker")


def test_the_catalog_is_that_of_the_recipe(client: TestClient) -> None:
    catalog = client.get("/v1/techniques").json()
    assert catalog["families"].keys() == FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert len(catalog["families"][name]) == len(members(family))
    adam = next(entry for entry in catalog["families"]["optimizers"] if entry["kind"] == "adam")
    assert "Kingma" in adam["description"]
    assert adam["fields"]["properties"]["beta1"]["default"] == 0.9
    assert "optimizer" in catalog["recipe"]["properties"]


def test_the_recipe_is_typed_in_openapi(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"Recipe", "Adam", "EarlyStopping", "JobCreate"} <= schemas.keys()
    assert "minimum" in str(schemas["Recipe"]["properties"]["epochs"])
