"""What ought to become of a job: a model of the life cycle that shares no code with it."""

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
"""What a worker may do to a job that it holds, and in which states."""
ENDS = {
    "succeed": ("succeeded", "succeeded"),
    "fail": ("failed", "failed"),
    "crash": ("queued", "crashed"),
    "drain": ("queued", "drained"),
    "postpone": ("queued", "postponed"),
}
"""What becomes of a job whose attempt ends so, and the event that says it."""
LEFT_OFF = {"cancelling": "cancelled", "pausing": "paused"}
"""And of one that was unwanted, with an event of the same name."""
TOLD = ("epoch", "secure", "fail")
"""What a child tells of: all but its end is written down while the job is pausing, nothing while it is cancelling."""
WISHES = {
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
"""What becomes of a job in each state that allows it."""


@dataclass
class Modelled:
    """What a job ought to be."""

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
    said: list[tuple[str, int | None]] = field(default_factory=list)
    """Its events: their kinds, and the attempts that they tell of."""

    @property
    def is_free(self) -> bool:
        """Whether the next worker may take it."""
        return self.status in ("queued", "running") and not self.waits and (self.worker is None or self.is_expired)

    def is_held_by(self, claim: Claim[Job]) -> bool:
        """Whether this claim may write; a lease that has run out counts until somebody else has taken the job."""
        return self.worker is not None and self.attempt == claim.attempt

    def take(self, worker: str) -> None:
        """A worker claims it."""
        self.crashes += self.worker is not None
        self.silent, self.worker = self.worker, worker
        self.attempt += 1
        self.status, self.is_expired = "running", False

    def start(self) -> None:
        """Its attempt begins."""
        if self.silent is not None:
            self.said.append(("crashed", self.attempt - 1))
        self.said.append(("started", self.attempt))

    def leave(self, how: str) -> None:
        """Its attempt ends, and nobody works on it."""
        self.status, kind = ENDS[how] if how in ENDS else (LEFT_OFF[self.status], LEFT_OFF[self.status])
        self.said.append((kind, self.attempt if kind == "crashed" else None))
        self.waits = self.waits or how == "postpone"
        self.worker, self.is_expired = None, False

    def transit(self, name: str) -> None:
        """Its worker makes it go this way."""
        if name == "start":
            self.start()
        else:
            self.leave(name)

    def work(self, deed: str) -> None:
        """Its worker does this, as a worker's supervision does it."""
        if deed == "begin":
            self.start()
            self.epochs = 0  # there is no snapshot to go on from
        elif deed == "epoch":
            self.epochs += 1
            self.said.append(("epoch", None))
        elif deed == "secure":
            self.crashes = 0
        elif self.status in LEFT_OFF:
            self.leave("interrupt")
        else:
            self.crashes += deed == "crash"
            self.leave("fail" if deed == "crash" and self.crashes >= MAX_CRASHES else deed)

    def ask(self, requested_state: str) -> None:
        """A caller wants this, and may."""
        before, self.status = self.status, WISHES[requested_state][self.status]
        if self.status in ("cancelled", "paused") and self.status != before:
            self.said.append((self.status, None))
        if requested_state == "resume":
            self.said.append(("resumed", None))
        if requested_state == "stop" and not self.is_stopping:
            self.is_stopping = True
            self.said.append(("stopping", None))
