"""Completion of ids and names from the service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from graft import completion
from tests.support.records import make_job

if TYPE_CHECKING:
    from tests.support.misbehaving_server import Handler


def give_rows(handler: Handler, *, rows: list[Any]) -> None:
    """Give a page of these rows."""
    handler.give_json({"data": rows})


def test_ids_and_names_are_completed(server: type[Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_URL", server.url)
    lists = {
        "jobs": [make_job(id="job_1"), make_job(id="job_20", name="flowers")],
        "backbones": [{"id": "timm/a", "architecture": "a", "name": "timm/a"}],
        "models": [{"name": "flowers", "checkpoint": "ckpt_1"}],
    }
    for name, rows in lists.items():
        server.answers["GET", f"/v1/{name}"] = partial(give_rows, rows=rows)
    assert list(completion.complete_jobs("job_2")) == [("job_20", "running, flowers")]
    assert list(completion.complete_backbones("timm/")) == [("timm/a", "a")]
    assert list(completion.complete_models("")) == [("flowers", "ckpt_1")]
    server.answers["GET", "/v1/jobs"] = lambda handler: handler.give_json({"detail": "no key"}, 401)
    assert list(completion.complete_jobs("")) == []


@pytest.mark.parametrize("answer", [[], None, {}, {"data": None}, {"data": [{"object": "model"}]}, {"data": ["text"]}])
def test_nothing_is_offered_where_another_program_answers(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setenv("GRAFT_URL", server.url)
    completed = {
        "jobs": completion.complete_jobs,
        "backbones": completion.complete_backbones,
        "models": completion.complete_models,
    }
    for name, complete in completed.items():
        server.answers["GET", f"/v1/{name}"] = lambda handler: handler.give_json(answer)
        assert list(complete("")) == []


def test_nothing_is_offered_where_no_service_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:9", "nonsense", "http://[::1"):
        monkeypatch.setenv("GRAFT_URL", url)
        assert list(completion.complete_jobs("")) == []
