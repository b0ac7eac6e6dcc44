"""`graft doctor` against services that are well, that lack something, or are not there."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from graft import doctor
from graft.cli import app
from graft.doctor import check_service

if TYPE_CHECKING:
    from tests.support.misbehaving_server import Handler


def make_well(server: type[Handler], *, alive: bool = True, release: str | None = None) -> None:
    """Have a service answer that is well."""
    release = release or version("graft")
    workers = {"data": [{"id": "w", "is_alive": alive}], "has_more": False}
    server.answers = {
        ("GET", "/openapi.json"): lambda handler: handler.give_json({"info": {"title": "Graft", "version": release}}),
        ("GET", "/readyz"): lambda handler: handler.give_json({"status": "ready"}),
        ("GET", "/v1/workers"): lambda handler: handler.give_json(workers),
    }


def states(url: str) -> dict[str, str]:
    """Find the state of each check of a service."""
    return {check["name"]: check["state"] for check in check_service(url)}


def test_a_service_that_is_well_is_told_so(server: type[Handler]) -> None:
    make_well(server)
    done = CliRunner().invoke(app, ["doctor", "--no-machine", "--url", server.url])
    assert done.exit_code == 0, done.output
    assert "✓ workers: 1 of 1 are alive" in done.output
    found: list[dict[str, Any]] = json.loads(
        CliRunner().invoke(app, ["doctor", "--no-machine", "--json", "--url", server.url]).stdout
    )
    assert [check["state"] for check in found] == ["ok", "ok", "ok"]


def test_a_service_without_workers_or_of_another_release_is_told(server: type[Handler]) -> None:
    make_well(server, alive=False, release="9.9")
    problem = {"code": "not_ready", "detail": "No worker has listed the backbones yet."}
    server.answers["GET", "/readyz"] = lambda handler: handler.give_json(problem, 503)
    assert states(server.url) == {"service": "ok", "versions": "note", "readiness": "problem", "workers": "problem"}
    done = CliRunner().invoke(app, ["doctor", "--no-machine", "--url", server.url])
    assert done.exit_code == 1
    assert "✗ readiness: No worker has listed the backbones yet." in done.output
    assert "Start one with `graft worker`" in done.output


def test_a_service_that_asks_for_a_key_or_is_not_there_is_told(server: type[Handler]) -> None:
    make_well(server)
    server.answers["GET", "/v1/workers"] = lambda handler: handler.give_json({"detail": "A key is missing."}, 401)
    done = CliRunner().invoke(app, ["doctor", "--no-machine", "--url", server.url])
    assert "Set GRAFT_API_KEY" in done.output.splitlines()[-1]
    assert states("http://127.0.0.1:9") == {"service": "problem"}
    server.answers["GET", "/openapi.json"] = lambda handler: handler.give(b"<html>")
    assert states(server.url) == {"service": "problem"}


@pytest.mark.parametrize("path", ["/readyz", "/v1/workers"])
@pytest.mark.parametrize("fault", ["drops", "hangs"])
def test_a_check_that_gets_no_answer_is_told_and_the_others_go_on(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch, path: str, fault: str
) -> None:
    make_well(server)
    if fault == "drops":
        server.answers["GET", path] = lambda handler: handler.connection.close()
    else:
        monkeypatch.setattr(doctor, "SECONDS", 0.2)
        server.answers["GET", path] = lambda handler: time.sleep(0.5)
    failed = {"/readyz": "readiness", "/v1/workers": "workers"}[path]
    assert states(server.url) == {"service": "ok", "readiness": "ok", "workers": "ok", failed: "problem"}


@pytest.mark.parametrize("answer", [[], None, "text", {}, {"info": []}, {"info": {"title": "Other", "version": "1"}}])
def test_another_program_at_the_address_is_told(server: type[Handler], answer: object) -> None:
    make_well(server)
    server.answers["GET", "/openapi.json"] = lambda handler: handler.give_json(answer)
    assert states(server.url) == {"service": "problem"}


def test_an_address_that_is_none_is_told() -> None:
    for url in ("nonsense", "http://["):
        assert states(url) == {"service": "problem"}
