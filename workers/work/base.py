"""Attempts: the steps of one try at claimed work, which differ between kinds of work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic

from workers.lease import Row

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.settings import Settings


NVIDIA = Path("/dev/nvidiactl")
"""Exists on machines with a GPU of NVIDIA's whose driver is loaded."""


class InterruptRequested(Exception):
    """A user has cancelled or paused the work."""


class Attempt(ABC, Generic[Row]):
    """One try at one piece of work, as its supervisor calls it.

    `fetch_inputs`, then `start`; for each batch of the child's events `prepare`, `record` and `confirm`; at the end one
    of `fail`, `crash`, `postpone`, `drain` and `interrupt`, unless `record` has ended the work; `clean_up` always.
    Methods with a session write to a locked row in the supervisor's fenced transaction, which may be rolled back and
    tried again: they leave the attempt itself unchanged.
    """

    module: ClassVar[str]
    """The module whose `work(order, context)` the child runs."""
    retries_own_faults: ClassVar[bool] = True
    """Whether work is tried again after a crash by the child's own fault, such as a lack of memory."""

    @property
    def may_use_gpu(self) -> bool:
        """True if the child may use a GPU."""
        return False

    @property
    def can_save_progress(self) -> bool:
        """True if the child, asked to drain, saves progress that is in no event yet."""
        return False

    def fetch_inputs(self) -> None:
        """Bring the child's input files to this machine, outside any transaction. Raises OSError."""

    @abstractmethod
    def start(self, session: Session, row: Row) -> BaseModel:
        """Start the attempt; returns the order for the child."""

    def prepare(self, lines: list[bytes]) -> None:
        """Store the files that events name, outside any transaction. Raises ContentsCollected, OSError."""

    @abstractmethod
    def record(self, session: Session, row: Row, lines: list[bytes]) -> bool:
        """Write events to the row; true if they end the work. Raises ContentsCollected, InterruptRequested."""

    def confirm(self, lines: list[bytes]) -> None:
        """Update the attempt itself: the transaction of `record(lines)` is committed."""

    @abstractmethod
    def fail(self, session: Session, row: Row, cause: str, message: str) -> None:
        """End the work as failed: this was its last attempt."""

    def crash(self, session: Session, row: Row, cause: str, message: str) -> None:
        """Requeue the work after a crash."""
        row.release()

    def postpone(self, session: Session, row: Row, cause: str, message: str, seconds: float) -> None:
        """Requeue the work, to be claimed after `seconds`."""
        row.release()
        row.wait(session, seconds)

    def drain(self, session: Session, row: Row) -> None:
        """Requeue the work because this worker is stopping."""
        row.release()

    def interrupt(self, session: Session, row: Row) -> None:
        """End what is cancelled, or pause a pausing job. Other work can be neither."""
        raise NotImplementedError

    def clean_up(self, *, is_over: bool) -> None:
        """Remove files that are no longer needed; `is_over` if the work has succeeded or failed for good."""


def may_use_nvidia(settings: Settings) -> bool:
    """Tell whether a child may use a GPU of NVIDIA's: neither the settings nor the machine rule it out."""
    return settings.device not in ("cpu", "mps") and NVIDIA.exists()
