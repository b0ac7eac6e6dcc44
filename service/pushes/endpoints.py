"""HTTP of pushes."""

from __future__ import annotations

import threading

from fastapi import APIRouter, Response

from service import tables
from service.checkpoints import repository
from service.dependencies import DatabaseDep, QueueDep, SettingsDep, StorageDep
from service.exports.endpoints import answer_exporting, require_export
from service.exports.options import ExportOptions
from service.exports.schemas import Export
from service.json_body import JsonRoute
from service.pushes import hub, mlflow
from service.pushes.errors import TooManyPushes
from service.pushes.folder import open_folder
from service.pushes.schemas import HubPush, Push, Pushed
from service.statuses import ExportStatus

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=JsonRoute)

MOST_AT_ONCE = 4
"""Pushes that one process streams at once: each holds a thread for as long as it takes."""
_slots = threading.BoundedSemaphore(MOST_AT_ONCE)


@router.post(
    "/{checkpoint_id}/push",
    response_model=Pushed,
    responses={
        202: {"description": "A worker makes the files first: send it again, or poll Location", "model": Export},
        502: {"description": "The other service fails or does not answer; nothing was published"},
    },
)
def push_checkpoint(
    checkpoint_id: str,
    body: Push,
    database: DatabaseDep,
    storage: StorageDep,
    queue: QueueDep,
    settings: SettingsDep,
) -> Pushed | Response:
    """Push a checkpoint to a repository of the Hugging Face Hub, or to an MLflow registry as a new version.

    The files are those of its export as `hub` or `bundle`; while a worker makes it, the answer is 202. Then they are
    streamed within the request. The token is for this request alone: it is not stored, logged or repeated.
    """
    with database.reading() as session:
        checkpoint = repository.get(session, checkpoint_id)
    export = require_export(database, queue, checkpoint, body.format, ExportOptions())
    if export.status == ExportStatus.EXPORTING:
        return answer_exporting(export)
    if not _slots.acquire(blocking=False):
        raise TooManyPushes(f"{MOST_AT_ONCE} pushes are under way in this process; send the request again later.")
    try:
        assert export.file is not None
        with open_folder(storage, export.file) as folder:
            if isinstance(body, HubPush):
                return hub.push(body, folder)
            return mlflow.push(body, folder, _collect_facts(checkpoint), settings)
    finally:
        _slots.release()


def _collect_facts(checkpoint: tables.Checkpoint) -> dict[str, str]:
    """Collect what the tags of a version say: where it comes from, and its figures on the test images."""
    test = (checkpoint.metrics or {}).get("test") or {}
    figures = {f"graft.test_{name}": str(test[name]) for name in ("accuracy", "map", "loss") if name in test}
    return {
        "graft.checkpoint": checkpoint.id,
        "graft.job": checkpoint.job_id,
        "graft.digest": f"sha256:{checkpoint.digest}",
        **figures,
    }
