"""Metrics of a job's epochs, collected from its events: nobody asks for them again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graft.record import Fields


class EpochHistory:
    """The epochs that a job's events tell of."""

    def __init__(self) -> None:
        self.epochs: list[Fields] = []
        """In order."""

    def add(self, event: Fields) -> None:
        """Add the epoch of an event; an attempt that resumes trains some again, which replace the earlier ones."""
        if event["kind"] != "epoch":
            return
        while self.epochs and self.epochs[-1]["epoch"] >= event["data"]["epoch"]:
            self.epochs.pop()
        self.epochs.append(event["data"])
