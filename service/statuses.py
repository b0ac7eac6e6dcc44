"""States of jobs, datasets and backbones, which workers claim."""

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
    FAILED = "failed"
    """It could not be inspected; `error` has the reason. A later request tries again."""
