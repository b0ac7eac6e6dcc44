"""Imports of uploaded backbones: every query and transition. importing → ready | failed, and back for preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from service import event_log
from service.backbones import repository
from service.backbones.errors import BackboneInUse, BackboneNotUploaded, PreprocessingNotNeeded, UploadDropped
from service.backbones.options import ImportOptions
from service.backbones.tables import OWN_SOURCES, UPLOAD_SOURCE
from service.jobs.lifecycle import TERMINAL
from service.recommendations import repository as recommendations
from service.statuses import BackboneStatus
from service.tables import Backbone, BackboneEvent, Job, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

FOLDER = "backbones"
"""The folder of all uploaded backbones in the storage."""
NEEDS_ANSWER = frozenset({
    "preprocessing_needed", "preprocessing_contradicts", "preprocessing_unusable", "input_size_differs",
    "samples_needed", "samples_unusable", "labels_needed", "labels_unfit",
    "architecture_needed", "architecture_unknown", "architecture_unbuildable", "weights_unfit",
})  # fmt: skip
"""Errors after which the upload is kept: the import goes on when a request brings what it lacked, or corrects it."""
KEEP_SECONDS = 7 * 86400.0
"""Time for which such an upload is kept."""


def get_folder(backbone_id: str) -> str:
    """Get the folder of the backbone's files in the storage."""
    return f"{FOLDER}/{backbone_id}"


def find_file_keys(session: Session) -> set[str]:
    """Find the storage keys of all files that uploaded and pretrained backbones name."""
    columns = (Backbone.upload, Backbone.samples, Backbone.files, Backbone.snapshot)
    uploads = set()
    for upload, samples, files, snapshot in session.execute(select(*columns).where(Backbone.source.in_(OWN_SOURCES))):
        uploads |= {upload, samples, (snapshot or {}).get("key")} | {file["key"] for file in (files or {}).values()}
    return uploads - {None}


def create(
    session: Session,
    backbone_id: str,
    *,
    name: str,
    options: ImportOptions,
    upload: str,
    samples: str | None,
    size: int,
    digest: str | None,
    created_by: str | None = None,
) -> Backbone:
    """Add a backbone whose file is in the storage, to be imported; `created_by` is the id of an API key."""
    backbone = Backbone(
        id=backbone_id,
        source=UPLOAD_SOURCE,
        status=BackboneStatus.IMPORTING,
        attempt=0,
        crashes=0,
        event_seq=0,
        display_name=name or None,
        created_by=created_by,
        upload=upload,
        samples=samples,
        bytes=size,
        digest=digest,
        format=options.format,
        options=options.model_dump(mode="json", exclude_none=True),
    )
    session.add(backbone)
    session.flush()
    add_event(session, backbone, "info", "uploaded", "Waiting for a worker", {"bytes": size})
    return backbone


def get_uploaded(session: Session, backbone_id: str, *, lock: bool = False) -> Backbone:
    """Get an uploaded backbone, with `lock` locked until the transaction ends.

    Raises BackboneNotFound, BackboneNotUploaded.
    """
    backbone = repository.get(session, backbone_id, lock=lock)
    if backbone.source != UPLOAD_SOURCE:
        raise BackboneNotUploaded(
            f"{backbone_id} was not uploaded, it is of the source {backbone.source}; only an uploaded one, bb_…, is "
            "imported."
        )
    return backbone


def answer(session: Session, backbone_id: str, options: ImportOptions, samples: str | None) -> Backbone:
    """Go on with an import that lacked something: failed → importing.

    Raises BackboneNotFound, BackboneNotUploaded, PreprocessingNotNeeded, UploadDropped.
    """
    backbone = get_uploaded(session, backbone_id, lock=True)
    require_waiting(backbone)
    earlier = ImportOptions.model_validate(backbone.options or {})
    backbone.options = earlier.updated_by(options).model_dump(mode="json", exclude_none=True)
    backbone.samples = samples or backbone.samples
    backbone.status, backbone.crashes = BackboneStatus.IMPORTING, 0
    backbone.error = backbone.finished_at = None
    given = [*options.model_dump(exclude_none=True), *(["samples"] if samples else [])]
    message = f"Importing again, with {' and '.join(given)}"
    add_event(session, backbone, "info", "answered", message, options.model_dump(mode="json", exclude_none=True))
    return backbone


def require_waiting(backbone: Backbone) -> None:
    """Check that an import waits for an answer. Raises PreprocessingNotNeeded, UploadDropped."""
    code = (backbone.error or {}).get("code")
    if backbone.status != BackboneStatus.FAILED or code not in NEEDS_ANSWER:
        again = "" if backbone.status == BackboneStatus.IMPORTING else " Send the file again to import it anew."
        raise PreprocessingNotNeeded(
            f"Backbone {backbone.id} is {backbone.status}, and does not wait for its preprocessing.{again}"
        )
    if backbone.upload is None:
        days = KEEP_SECONDS / 86400
        raise UploadDropped(
            f"The file of {backbone.id} was kept for {days:.0f} days, and is deleted. Send it again, with "
            "its preprocessing."
        )


def delete(session: Session, backbone_id: str) -> None:
    """Delete an uploaded or pretrained backbone, which ends its import or its pretraining.

    Raises BackboneNotFound, BackboneNotUploaded, BackboneInUse.
    """
    backbone = repository.get(session, backbone_id, lock=True)
    if backbone.source not in OWN_SOURCES:
        raise BackboneNotUploaded(
            f"{backbone_id} was not uploaded, it is of the source {backbone.source}; only an uploaded or pretrained "
            "one, bb_…, is deleted."
        )
    needs_it = or_(Job.backbone == backbone_id, Job.names([backbone_id]) & Job.status.not_in(TERMINAL))
    job = session.scalar(select(Job.id).where(needs_it).order_by(Job.id).limit(1))
    if job is not None:
        raise BackboneInUse(
            f"Job {job} uses backbone {backbone_id}, and its checkpoints are made of it. Delete its jobs first."
        )
    candidates = recommendations.find_unfinished_of_backbones(session, [backbone_id])
    if candidates:
        raise BackboneInUse(
            f"Recommendation {candidates[0].recommendation_id} measures backbone {backbone_id}; wait until it has "
            "ended, or cancel it."
        )
    for other in repository.find_pretrained_from(session, [backbone_id]):
        raise BackboneInUse(
            f"Backbone {other.id} is being pretrained from {backbone_id}; wait until it is ready, or delete it."
        )
    session.delete(backbone)


def start(session: Session, backbone: Backbone) -> None:
    """Start an attempt at the import, or the pretraining, of the locked backbone."""
    if backbone.silent_worker is not None:
        lost = {"cause": "worker_died", "attempt": backbone.attempt - 1, "worker": backbone.silent_worker}
        add_event(session, backbone, "warning", "crashed", "Its worker died or stopped responding", lost)
    attempt = {"attempt": backbone.attempt}
    add_event(session, backbone, "info", "started", f"Attempt {backbone.attempt} started", attempt)


def accept(
    session: Session,
    backbone: Backbone,
    *,
    summary: Mapping[str, Any],
    files: dict[str, Any],
    inspection: dict[str, Any],
    report: dict[str, Any],
) -> None:
    """Accept the locked backbone: importing → ready. `summary` has columns of its row."""
    backbone.import_report, backbone.format = report, report.get("format") or backbone.format
    backbone.upload = backbone.samples = None
    make_ready(session, backbone, "Imported", summary, files, inspection)


def make_ready(
    session: Session,
    backbone: Backbone,
    made: str,
    summary: Mapping[str, Any],
    files: dict[str, Any],
    inspection: dict[str, Any],
) -> None:
    """End the import, or the pretraining, of the locked backbone: it is ready. `made` is how, for its last event."""
    for column, value in summary.items():
        setattr(backbone, column, value)
    backbone.files, backbone.inspection = files, inspection
    backbone.end(session, BackboneStatus.READY)
    add_event(session, backbone, "info", "ready", f"{made}: {backbone.architecture}", {})


def reject(session: Session, backbone: Backbone, code: str, message: str, report: dict[str, Any] | None) -> None:
    """Reject the locked backbone: importing → failed. Its upload is kept if an answer lets the import go on."""
    backbone.error = {"code": code, "message": message}
    if report is not None:
        backbone.import_report, backbone.format = report, report.get("format") or backbone.format
    if code not in NEEDS_ANSWER:
        backbone.upload = backbone.samples = None
    backbone.end(session, BackboneStatus.FAILED)
    add_event(session, backbone, "error", "failed", message, {"code": code})


def drop_unanswered(session: Session) -> None:
    """Drop the uploads of backbones that have waited for an answer for KEEP_SECONDS; the sweep removes the files."""
    waiting = select(Backbone).where(
        Backbone.source == UPLOAD_SOURCE,
        Backbone.status == BackboneStatus.FAILED,
        Backbone.upload.is_not(None),
        Backbone.finished_at < now() - KEEP_SECONDS,
    )
    for backbone in session.scalars(waiting.with_for_update(skip_locked=True)):
        backbone.upload = backbone.samples = None
        add_event(session, backbone, "warning", "upload_dropped", "Nobody answered; the uploaded file is deleted", {})


def add_event(session: Session, backbone: Backbone, level: str, kind: str, message: str, data: dict[str, Any]) -> None:
    """Append an event; the backbone's row must be locked, so that events are numbered without gaps."""
    event_log.add(session, backbone, BackboneEvent, level, kind, message, data)


def find_events(session: Session, backbone_id: str, after: int, limit: int) -> list[BackboneEvent]:
    """Find at most `limit` events of the backbone with numbers above `after`, in order."""
    return event_log.find(session, BackboneEvent, backbone_id, after, limit)


def is_over(session: Session, backbone_id: str) -> bool:
    """Tell whether no event follows: the backbone is neither imported nor pretrained now, or is deleted."""
    backbone = session.get(Backbone, backbone_id)
    return backbone is None or backbone.status not in (BackboneStatus.IMPORTING, BackboneStatus.PRETRAINING)
