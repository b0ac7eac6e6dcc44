"""States of what workers claim: of each noun, every state that a row can be in."""

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
    """Finished without a checkpoint; `error` says why."""
    CANCELLING = "cancelling"
    """Somebody has cancelled it, and its worker has not ended the attempt yet."""
    CANCELLED = "cancelled"
    """Ended by somebody, without a checkpoint."""
    PAUSING = "pausing"
    """Somebody has paused it, and its worker has not ended the attempt yet."""
    PAUSED = "paused"
    """Waiting for somebody to resume it."""


class DatasetStatus(StrEnum):
    """States of a dataset."""

    VALIDATING = "validating"
    """Uploaded; a worker validates it, or will."""
    READY = "ready"
    """Valid: jobs can use it."""
    FAILED = "failed"
    """Rejected; `error` says why."""


class BackboneStatus(StrEnum):
    """States of a backbone."""

    LISTED = "listed"
    """Jobs can name it; nobody has asked for its cuts."""
    INSPECTING = "inspecting"
    """Somebody has asked; a worker finds its cuts and their costs, or will."""
    INSPECTED = "inspected"
    """Its cuts and their costs are known."""
    FAILED = "failed"
    """It could not be inspected; `error` says why. Asking later tries again."""
