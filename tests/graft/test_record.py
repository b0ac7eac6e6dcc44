"""Records: typed attributes over the service's JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from graft.results.checkpoints import Checkpoint
from graft.results.jobs import Job, Progress
from graft.results.models import Model

PROGRESS = {"percent": 50.0, "epoch": 3, "epochs": 6, "step": None, "steps": None, "images_per_second": None}
JOB: dict[str, Any] = {
    "id": "job_1",
    "status": "running",
    "progress": PROGRESS,
    "metadata": {"by": "me"},
    "created_at": "2026-11-28T12:00:00.500Z",
    "finished_at": None,
    "newer": {"a": 1},
}


def test_fields_have_the_types_of_their_class() -> None:
    job = Job(JOB)
    assert job.created_at == datetime(2026, 11, 28, 12, 0, 0, 500_000, tzinfo=UTC)
    assert job.finished_at is None
    assert isinstance(job.progress, Progress)
    assert (job.progress.epoch, job.metadata) == (3, {"by": "me"})
    artifacts = [{"format": "head", "bytes": 1, "digest": "sha256:0", "url": "/"}]
    assert [one.format for one in Checkpoint({"artifacts": artifacts}).artifacts] == ["head"]


def test_the_json_is_as_it_came() -> None:
    job = Job(JOB)
    assert job["created_at"] == "2026-11-28T12:00:00.500Z"
    assert job["newer"] == {"a": 1}, "of a newer service"
    assert ("newer" in job, "older" in job, job.get("older", 7)) == (True, False, 7)
    assert {**job} == job.to_dict() == JOB
    assert job == JOB
    assert job == Job(dict(JOB))
    assert job != Job({"id": "job_2"})


def test_a_field_that_is_missing_says_whose_fault_it_is() -> None:
    with pytest.raises(AttributeError, match="Job has no field stauts"):
        Job(JOB).stauts  # noqa: B018
    with pytest.raises(AttributeError, match="sent no recipe"):
        Job(JOB).recipe  # noqa: B018
    with pytest.raises(TypeError):
        iter(Model({}))


def test_a_record_is_shown_by_what_names_it() -> None:
    assert repr(Job(JOB)) == "Job(id='job_1', status='running')"
    assert {"progress", "to_dict"} <= set(dir(Job(JOB)))
    shown = Model({"name": "<b>", "classes": ["x" * 500]})._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "x" * 201 not in shown
