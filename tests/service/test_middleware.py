"""Addresses: every name arrives as it was meant, or the request is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.archives import small_zip
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("query", "name"), [("name=Bl%C3%BCten", "Blüten"), ("name=100%25+a", "100% a"), ("name=", "")]
)
def test_a_name_arrives_as_it_was_meant(client: TestClient, query: str, name: str) -> None:
    response = client.post(f"/v1/datasets?{query}", content=small_zip())
    assert response.status_code == 202, response.text
    assert response.json()["name"] == name


@pytest.mark.parametrize("address", ["/v1/jobs?dataset=%FF", "/v1/jobs?%FE=1", "/v1/jobs/%FF%FE", "/v1/datasets/a%C3"])
def test_an_address_that_is_not_utf8_is_refused(client: TestClient, address: str) -> None:
    assert_problem(client.get(address), 400, "address_not_utf8", "UTF-8")
