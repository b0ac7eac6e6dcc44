"""Documentation: everything that its page loads is the service's own."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from service.backbones.options import ImportOptions
from service.documentation import write_schema

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        assert asset.startswith("/static/")
        assert client.get(asset).status_code == 200
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "<script>" not in page.text


def test_vendored_files_are_unchanged() -> None:
    vendor = Path(str(files("service") / "static" / "vendor"))
    rows = re.findall(r"\| (\S+) \|.*\| ([0-9a-f]{64}) \|", (vendor / "README.md").read_text())
    assert {name for name, _ in rows} == {
        str(entry.relative_to(vendor)) for entry in vendor.rglob("*") if entry.suffix in {".js", ".css"}
    }
    for name, digest in rows:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest


def test_each_operation_says_what_key_it_needs(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/v1/jobs"]["post"]["security"] == [{}, {"key": ["write"]}]
    assert paths["/v1/jobs"]["get"]["security"] == [{}, {"key": ["read"]}]
    assert "security" not in paths["/healthz"]["get"]


def test_the_schema_of_a_body_needs_no_other() -> None:
    schema = write_schema(ImportOptions)
    assert "$ref" not in json.dumps(schema)
    assert set(schema["properties"]) == set(ImportOptions.model_fields)
    assert "channel_order" in json.dumps(schema["properties"]["preprocessing"])


def test_groups_are_those_of_all_operations_in_an_order_of_their_own(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    used = [operation.get("tags", []) for path in schema["paths"].values() for operation in path.values()]
    named = [group["name"] for group in schema["tags"]]
    assert named[:2] == ["datasets", "uploads"]
    assert sorted(named) == sorted({tag for tags in used for tag in tags})
