"""Publish the checkpoint of a job that succeeds under the name that its request gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.jobs import repository as jobs
from service.models import repository
from service.tables import Checkpoint

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.tables import Job


def publish(session: Session, job: Job, checkpoint: Checkpoint) -> None:
    """Make the job's name, if it has one, point at its checkpoint, or add an event that says why not.

    In the transaction in which the job succeeds.
    """
    if job.publish is None:
        return
    name = job.publish["name"]
    current = repository.lock(session, name)
    earlier = None if current is None else current.checkpoint_id
    if job.publish["when"] == "if_better" and earlier is not None:
        reason = _find_obstacle(checkpoint, session.get_one(Checkpoint, earlier))
        if reason is not None:
            message = f"Not published as {name}, which stays at {earlier}: {reason}"
            jobs.add_event(session, job, "warning", "not_published", message, {"model": name, "checkpoint": earlier})
            return
    repository.move(session, name, checkpoint.id, created_by=job.created_by, job=job.id)
    jobs.add_event(
        session,
        job,
        "info",
        "published",
        f"Published as {name}" + (f" in place of {earlier}" if earlier else ""),
        {"model": name, "checkpoint": checkpoint.id, "earlier": earlier},
    )


def _find_obstacle(new: Checkpoint, old: Checkpoint) -> str | None:
    """Find why a checkpoint is not known to be better than another; None if it is."""
    tested, before = new.metrics.get("test"), old.metrics.get("test")
    if tested is None or before is None:
        missing = "this job" if tested is None else "that checkpoint"
        return f"{missing} has no test images to compare on."
    if "images_digest" not in before:
        return "that checkpoint is of an earlier release, which did not note its test images."
    if tested["images_digest"] != before["images_digest"]:
        return "the two were tested on other images, or other labels of them."
    name, words = ("map", "mean average precision") if "map" in tested else ("accuracy", "accuracy")
    if _rank(tested, name) > _rank(before, name):
        return None
    return f"on the same test images its {words} is {tested[name]:.2%}, and that of the other {before[name]:.2%}."


def _rank(metrics: dict[str, Any], name: str) -> tuple[float, float]:
    """Rank by a metric; where it is equal, by the loss."""
    return metrics[name], -metrics["loss"]
