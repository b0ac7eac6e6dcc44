"""The list of all skipped files, paged or as a table."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from service.storage import Storage
from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings

ROWS = [{"file": f"ä{number}.png", "code": "truncated", "message": f'Copy "{number}", again.'} for number in range(25)]


@pytest.fixture
def dataset(db: Database, settings: Settings) -> str:
    """Add a dataset with skipped files; gives its id."""
    with Storage(settings.storage).writing("datasets/x/skipped.1") as file:
        file.write("".join(f"{json.dumps(row)}\n" for row in ROWS).encode())
    return add_dataset(db, skipped="datasets/x/skipped.1")


def list_all(client: TestClient, dataset: str, limit: int) -> list[dict[str, Any]]:
    """List all skipped files, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = client.get(f"/v1/datasets/{dataset}/skipped", params=query).json()
        assert len(page["data"]) <= limit
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


@pytest.mark.parametrize("limit", [1, 7, 25, 1000])
def test_pages_list_every_file_once(client: TestClient, dataset: str, limit: int) -> None:
    found = list_all(client, dataset, limit)
    assert [{name: row[name] for name in ("file", "code", "message")} for row in found] == ROWS
    assert len({row["id"] for row in found}) == 25


def test_a_table_lists_every_file(client: TestClient, dataset: str) -> None:
    response = client.get(f"/v1/datasets/{dataset}/skipped", headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    assert list(csv.DictReader(io.StringIO(response.text))) == ROWS


def test_a_name_is_no_formula_in_a_table(client: TestClient, db: Database, settings: Settings) -> None:
    name = '=HYPERLINK("http://x")'
    with Storage(settings.storage).writing("datasets/y/skipped.1") as file:
        file.write(json.dumps({"file": name, "code": "truncated", "message": "Copy it again."}).encode() + b"\n")
    written = add_dataset(db, skipped="datasets/y/skipped.1")
    reported = add_dataset(
        db,
        skipped=None,
        report={"skipped": [{"file": name, "code": "truncated", "message": "Copy it again."}]},
    )
    for dataset in (written, reported):
        path = f"/v1/datasets/{dataset}/skipped"
        (row,) = csv.DictReader(io.StringIO(client.get(path, headers={"Accept": "text/csv"}).text))
        assert row["file"] == f"'{name}"
        assert client.get(path).json()["data"][0]["file"] == name


@pytest.mark.parametrize("after", ["{}.3", "{}.99999", "other.0", "nonsense"])
def test_a_position_that_is_none_is_refused(client: TestClient, dataset: str, after: str) -> None:
    response = client.get(f"/v1/datasets/{dataset}/skipped", params={"after": after.format(dataset)})
    assert_problem(response, response.status_code, "position_unknown")
    assert response.status_code in (400, 422)


def test_a_dataset_of_an_earlier_release_has_the_list_of_its_report(client: TestClient, db: Database) -> None:
    old = add_dataset(
        db, skipped=None, report={"files": 35, "accepted": 10, "counts": {"truncated": 25}, "skipped": ROWS}
    )
    assert [row["file"] for row in list_all(client, old, 10)] == [row["file"] for row in ROWS]
    response = client.get(f"/v1/datasets/{old}/skipped", headers={"Accept": "text/csv"})
    assert list(csv.DictReader(io.StringIO(response.text))) == ROWS
    assert client.get(f"/v1/datasets/{old}").json()["report"]["layout"] == ""


@pytest.mark.parametrize("status", ["validating", "failed"])
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_there_is_no_list_before_a_dataset_is_ready(client: TestClient, db: Database, status: str, accept: str) -> None:
    response = client.get(f"/v1/datasets/{add_dataset(db, status)}/skipped", headers={"Accept": accept})
    assert_problem(response, 409, "dataset_not_validated")
    assert_problem(client.get("/v1/datasets/ds_none/skipped"), 404, "dataset_not_found")


def test_lists_of_datasets_have_no_reports(client: TestClient, dataset: str) -> None:
    (listed,) = client.get("/v1/datasets").json()["data"]
    assert listed["id"] == dataset
    assert "report" not in listed
    assert client.get(f"/v1/datasets/{dataset}").json()["report"]["accepted"] == 10
