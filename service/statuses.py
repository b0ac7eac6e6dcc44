"""States of jobs, datasets, backbones, exports and batch predictions, which workers claim."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """States of a job."""  # jobs/lifecycle.py draws the transitions

    QUEUED = "queued"
    """Waiting for a worker."""
    RUNNING = "running"
    """A worker holds it."""
    SUCCEEDED = "succeeded"
    """Finished, with a checkpoint."""
    FAILED = "failed"
    """Finished without a checkpoint; `error` has the reason."""
    CANCELLING = "cancelling"
    """A user has cancelled it, and its worker has not ended the attempt yet."""
    CANCELLED = "cancelled"
    """Ended by a user, without a checkpoint."""
    PAUSING = "pausing"
    """A user has paused it, and its worker has not ended the attempt yet."""
    PAUSED = "paused"
    """Waiting for a user to resume it."""


class DatasetStatus(StrEnum):
    """States of a dataset."""

    VALIDATING = "validating"
    """Uploaded; a worker validates it, or will."""
    READY = "ready"
    """Valid: jobs can use it."""
    FAILED = "failed"
    """Rejected; `error` has the reason."""


class BackboneStatus(StrEnum):
    """States of a backbone."""

    LISTED = "listed"
    """Jobs can name it; its cuts were not requested yet."""
    INSPECTING = "inspecting"
    """Its cuts were requested; a worker finds them and their costs, or will."""
    INSPECTED = "inspected"
    """Its cuts and their costs are known."""
    IMPORTING = "importing"
    """Uploaded; a worker imports it, or will."""
    PRETRAINING = "pretraining"
    """Asked for; a worker pretrains it on the images of a dataset, or will."""
    READY = "ready"
    """Imported or pretrained: jobs can name it, and its cuts are known."""
    FAILED = "failed"
    """It could not be inspected, imported or pretrained; `error` has the reason. A later request inspects again."""


class ExportStatus(StrEnum):
    """States of an export."""

    EXPORTING = "exporting"
    """Asked for; a worker makes it, or will."""
    READY = "ready"
    """Made: its file can be downloaded."""
    FAILED = "failed"
    """It could not be made; `error` has the reason. A later request tries again."""


class WorkStatus(StrEnum):
    """States of queued work: of a batch prediction or a recommendation."""  # queued_work.py draws the transitions

    QUEUED = "queued"
    """Waiting for a worker."""
    RUNNING = "running"
    """A worker holds it."""
    SUCCEEDED = "succeeded"
    """Finished: its results can be downloaded."""
    FAILED = "failed"
    """Finished without results; `error` has the reason."""
    CANCELLING = "cancelling"
    """A user has cancelled it, and its worker has not ended the attempt yet."""
    CANCELLED = "cancelled"
    """Ended by a user, without results."""
