"""Views of batch predictions: the form, the list, and one as it goes on and when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from models.runtime.checkpoint_file import write
from service import queued_work
from service.batch_predictions import repository
from service.statuses import JobStatus, WorkStatus
from service.tables import Job
from tests.support.checkpoints import JOB, add_job, store_and_publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint of a job that has succeeded."""
    write(tmp_path / "a", {"head": torch.randn(7)}, {"k": "v"})
    add_job(db)
    with db.writing() as session:
        session.get_one(Job, JOB).status = JobStatus.SUCCEEDED
    return store_and_publish(db, tmp_path / "a").id


def test_datasets_and_models_are_chosen(browse: Callable[..., Response], dataset: str, checkpoint: str) -> None:
    text = browse(f"/predictions?dataset={dataset}").text
    assert f'<option value="{dataset}" selected>' in text
    assert f'name="models" value="{checkpoint}" checked' in text
    assert "No predictions yet" in text
    assert f'href="/predictions?dataset={dataset}"' in browse(f"/data/{dataset}").text


def test_a_prediction_is_followed_and_its_results_are_files(
    browse: Callable[..., Response], client: TestClient, db: Database, dataset: str, checkpoint: str
) -> None:
    body = {"dataset": dataset, "models": [checkpoint], "name": "All of them"}
    made = client.post("/v1/predictions", json=body).json()["id"]
    assert "All of them" in browse("/predictions").text
    text = browse(f"/predictions/{made}").text
    assert 'hx-trigger="every 1500ms"' in text
    assert f'hx-post="/v1/predictions/{made}/cancel"' in text
    with db.writing() as session:
        row = repository.get(session, made, lock=True)
        row.status, row.attempt = WorkStatus.RUNNING, 1
        queued_work.start(session, row, "", {})
        row.progress = {"percent": 100.0, "images": 12, "errors": 2}
        files = {name: {"key": name, "bytes": 2000, "digest": "0" * 64} for name in ("csv", "jsonl", "parquet")}
        row.files = files
        queued_work.succeed(session, row, "12 images")
    assert browse(f"/predictions/{made}", **{"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    ended = browse(f"/predictions/{made}").text
    for name in files:
        assert f'href="/v1/predictions/{made}/content?format={name}" download' in ended
    assert "2 images could not be opened" in ended
    assert f'hx-delete="/v1/predictions/{made}"' in ended
