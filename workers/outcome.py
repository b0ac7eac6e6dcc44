"""Outcomes of an attempt: how it ended, and so what happens to the work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """The work is over: the child's last event was recorded in its row."""


@dataclass(frozen=True)
class Crashed:
    """The attempt died before the work was over. It is tried again, `max_crashes` times in all."""

    cause: str
    message: str
    is_counted: bool = False
    """The claim has counted this crash: an earlier worker let its lease expire."""
    is_own_fault: bool = False
    """The child's own work ended it: another try at the same would end so too."""


@dataclass(frozen=True)
class Postponed:
    """The attempt needed something that was missing, such as room on a disk. It is no crash; work is tried later."""

    cause: str
    message: str
    seconds: float
    """Time in which no worker claims the work."""


@dataclass(frozen=True)
class Drained:
    """This worker is stopping, or was cut off from the database. It is no crash; any worker may claim the work."""


@dataclass(frozen=True)
class Interrupted:
    """A user has cancelled or paused the work."""


Unfinished = Crashed | Postponed | Drained | Interrupted
Outcome = Ended | Unfinished
