"""A browser's requests, and what there is to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.jobs import repository
from service.statuses import JobStatus
from service.tables import Job
from tests.support.datasets import add_dataset
from tests.support.job_metrics import METRICS
from tests.support.requests import create_job
from tests.support.stored_packs import write_pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def browse(client: TestClient) -> Callable[..., Response]:
    """Opens an address as a browser does."""

    def get(address: str, **headers: str) -> Response:
        return client.get(address, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", **headers})

    return get


@pytest.fixture
def dataset(db: Database, settings: Settings) -> str:
    """The id of a dataset with twelve files."""
    write_pack(settings, "x")
    return add_dataset(db, pack="datasets/x/pack.1", index="datasets/x/index.1")


@pytest.fixture
def job(client: TestClient, dataset: str) -> str:
    """The id of a job that waits."""
    return str(create_job(client, dataset)["id"])


@pytest.fixture
def done(db: Database, job: str) -> str:
    """The id of a job that has succeeded, with a finding."""
    with db.writing() as session:
        row = session.get_one(Job, job)
        row.status, row.metrics = JobStatus.SUCCEEDED, {"test": METRICS, "validation": METRICS}
        row.seconds = {"preparing": 0.5, "training": 75.0}
        finding = {"kind": "overfitting", "epoch": 3, "message": "It overfits.", "advice": "Raise head.dropout."}
        row.diagnosis = {"findings": [finding], "layers": []}
        repository.add_event(session, row, "info", "epoch", "Epoch 1", {"epoch": 1})
        repository.add_event(session, row, "info", "succeeded", "Succeeded: 75%", {})
    return job
