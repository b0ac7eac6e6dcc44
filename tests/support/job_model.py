"""Model of the life cycle of a job, which shares no code with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.tables import Job
    from workers.lease import Claim

MAX_CRASHES = 2
TRANSITIONS = {
    "start": ("running",),
    "succeed": ("running",),
    "fail": ("running",),
    "crash": ("running",),
    "drain": ("running",),
    "postpone": ("running",),
    "interrupt": ("cancelling", "pausing"),
}
"""Transitions that a worker may make, and the states that allow them."""
ENDS = {
    "succeed": ("succeeded", "succeeded"),
    "fail": ("failed", "failed"),
    "crash": ("queued", "crashed"),
    "drain": ("queued", "drained"),
    "postpone": ("queued", "postponed"),
}
"""State and event of a job after each end of an attempt."""
INTERRUPTED = {"cancelling": "cancelled", "pausing": "paused"}
"""State of a job after its attempt was interrupted; the event has the same name."""
MESSAGES = ("epoch", "secure", "fail")
"""Messages of a child: a pausing job records all but its end, a cancelling one records nothing."""
REQUESTS = {
    "cancel": {
        "queued": "cancelled",
        "paused": "cancelled",
        "running": "cancelling",
        "pausing": "cancelling",
        "cancelling": "cancelling",
        "cancelled": "cancelled",
    },
    "pause": {"queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused"},
    "resume": {"paused": "queued"},
    "stop": {"running": "running"},
}
"""State of a job after each request of a caller, by the states that allow it."""


@dataclass
class Modelled:
    """Expected columns and events of a job."""

    id: str
    priority: int
    status: str = "queued"
    attempt: int = 0
    crashes: int = 0
    worker: str | None = None
    silent: str | None = None
    is_expired: bool = False
    waits: bool = False
    is_stopping: bool = False
    epochs: int = 0
    events: list[tuple[str, int | None]] = field(default_factory=list)
    """Its events: their kinds, and the attempts that they are about."""

    @property
    def is_free(self) -> bool:
        """True if the next worker may claim it."""
        return self.status in ("queued", "running") and not self.waits and (self.worker is None or self.is_expired)

    def is_held_by(self, claim: Claim[Job]) -> bool:
        """Tell whether this claim may write; a lease that has run out counts until somebody else has taken the job."""
        return self.worker is not None and self.attempt == claim.attempt

    def take(self, worker: str) -> None:
        """Claim it for a worker."""
        self.crashes += self.worker is not None
        self.silent, self.worker = self.worker, worker
        self.attempt += 1
        self.status, self.is_expired = "running", False

    def start(self) -> None:
        """Start its attempt."""
        if self.silent is not None:
            self.events.append(("crashed", self.attempt - 1))
        self.events.append(("started", self.attempt))

    def leave(self, how: str) -> None:
        """End its attempt, so that nobody works on it."""
        self.status, kind = ENDS[how] if how in ENDS else (INTERRUPTED[self.status], INTERRUPTED[self.status])
        self.events.append((kind, self.attempt if kind == "crashed" else None))
        self.waits = self.waits or how == "postpone"
        self.worker, self.is_expired = None, False

    def transit(self, name: str) -> None:
        """Make a transition by its worker."""
        if name == "start":
            self.start()
        else:
            self.leave(name)

    def work(self, action: str) -> None:
        """Do one action of its worker, as the supervisor does it."""
        if action == "begin":
            self.start()
            self.epochs = 0  # there is no snapshot to resume from
        elif action == "epoch":
            self.epochs += 1
            self.events.append(("epoch", None))
        elif action == "secure":
            self.crashes = 0
        elif self.status in INTERRUPTED:
            self.leave("interrupt")
        else:
            self.crashes += action == "crash"
            self.leave("fail" if action == "crash" and self.crashes >= MAX_CRASHES else action)

    def ask(self, requested_state: str) -> None:
        """Request a state as a caller who may."""
        before, self.status = self.status, REQUESTS[requested_state][self.status]
        if self.status in ("cancelled", "paused") and self.status != before:
            self.events.append((self.status, None))
        if requested_state == "resume":
            self.events.append(("resumed", None))
        if requested_state == "stop" and not self.is_stopping:
            self.is_stopping = True
            self.events.append(("stopping", None))
