"""Query parameters: what would be ignored is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.routing import APIRoute

from service.pages import (
    checkpoint_endpoints,
    data_endpoints,
    job_endpoints,
    prediction_endpoints,
    table_endpoints,
    train_endpoints,
    try_endpoints,
)
from tests.support.requests import assert_problem, create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

PAGES = [
    *(checkpoint_endpoints, data_endpoints, job_endpoints, prediction_endpoints),
    *(table_endpoints, train_endpoints, try_endpoints),
]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/v1/jobs?state=failed", ["query.state: is unknown; did you mean status?", "limit", "metadata[KEY]"]),
        ("/v1/jobs?order=asc", ["query.order: is unknown", "after, backbone, dataset"]),
        ("/v1/jobs?limit=10&limit=20", ["query.limit: is given 2 times"]),
        ("/v1/jobs?metadata[a]=1&metadata[a]=2", ["query.metadata[a]: is given 2 times"]),
        ("/v1/jobs?metadata=1", ["query.metadata: is unknown"]),
        ("/v1/datasets?metadata[a]=1", ["query.metadata[a]: is unknown"]),
        ("/v1/datasets/ds_x?verbose=1", ["takes no parameters"]),
        ("/v1/jobs?after=nonsense", ["query.after: nonsense names no item of this list"]),
        ("/v1/jobs?after=%F0%9F%98%80", ["names no item of this list"]),
        ("/v1/jobs?after=ds_01M8HXZJNFEQXDPGYGJFAYEKNG", ["names no item of this list"]),
        ("/v1/datasets?after=nonsense", ["query.after: nonsense"]),
        ("/v1/backbones?after=nonsense", ["query.after: nonsense"]),
        ("/v1/backbones?q=" + "x" * 300, ["query.q", "at most 255 characters"]),
        ("/v1/jobs?limit=abc", ["query.limit", "valid integer"]),
        ("/v1/jobs?limit=1001", ["query.limit", "less than or equal to 1000"]),
        ("/v1/jobs?" + "&".join(f"metadata[{n}]=1" for n in range(51)), ["query.metadata", "at most 50 items"]),
        ("/v1/jobs?" + "&".join(f"metadata[{n}]=1" for n in range(1500)), ["query.metadata", "at most 50 items"]),
        ('/v1/jobs?metadata[a"b]=1', ["query.metadata", "without control characters, double quotes"]),
        ("/v1/jobs?metadata[a%5Cb]=1", ["query.metadata", "backslashes"]),
        ("/v1/jobs?metadata[a]=" + "x" * 300, ["query.metadata.a", "at most 255 characters"]),
    ],
)
def test_a_parameter_that_would_be_ignored_is_refused(client: TestClient, address: str, says: list[str]) -> None:
    assert_problem(client.get(address), 422, "invalid_request", *says)


def test_a_position_in_a_list_of_numbers_is_refused_likewise(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    for name in ("events", "metrics", "trials"):
        refused = client.get(f"/v1/jobs/{job}/{name}?after=nonsense")
        assert_problem(refused, 422, "position_unknown", "nonsense names no item of this list")


def test_an_empty_parameter_is_none(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    for query in ("after=", "status=&dataset=&backbone=", "after=&limit=5"):
        assert [found["id"] for found in client.get(f"/v1/jobs?{query}").json()["data"]] == [job]
    assert [found["id"] for found in client.get("/v1/datasets?after=&status=").json()["data"]] == [dataset]
    assert len(client.get("/v1/backbones?after=&q=&source=").json()["data"]) == 4
    for name in ("events", "metrics", "trials"):
        assert client.get(f"/v1/jobs/{job}/{name}?after=").status_code == 200


def test_probes_may_carry_anything(client: TestClient) -> None:
    for address in ("/healthz?t=1", "/readyz?t=1&t=2", "/metrics?x=1", "/?utm=1"):
        assert client.get(address).status_code == 200


def test_the_filter_by_labels_is_documented(client: TestClient) -> None:
    parameters = client.get("/openapi.json").json()["paths"]["/v1/jobs"]["get"]["parameters"]
    assert {"limit", "after", "status", "dataset", "backbone", "metadata"} == {p["name"] for p in parameters}


@pytest.mark.parametrize("value", ["", "99999999999999999999"])
def test_no_value_of_a_parameter_is_an_error_of_the_service(client: TestClient, value: str) -> None:
    described = client.get("/openapi.json").json()["paths"]
    asked = [
        (method, path, parameter["name"])
        for path, methods in described.items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    ]
    for views in PAGES:
        for route in views.router.routes:
            assert isinstance(route, APIRoute)
            asked += [("get", route.path, parameter.alias) for parameter in route.dependant.query_params]
    assert len(asked) > 100
    for method, path, name in asked:
        answer = client.request(method, path, params={name: value}, headers={"Accept": "text/html"})
        assert answer.status_code < 500, (method, path, name)
