"""Heartbeats, and a context without a supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.runtime.supervisor_callbacks import HEARTBEAT_SECONDS, Context, Heartbeat

if TYPE_CHECKING:
    import pytest


def test_heartbeats_are_sent_at_most_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    sent: list[float] = []
    heartbeat = Heartbeat(lambda: sent.append(time.monotonic()))
    for tenth in range(25):
        monkeypatch.setattr(time, "monotonic", lambda tenth=tenth: now + HEARTBEAT_SECONDS * tenth / 10)
        heartbeat()
    assert [round((at - now) / HEARTBEAT_SECONDS, 1) for at in sent] == [0.0, 1.0, 2.0]


def test_without_a_supervisor_nothing_is_asked_for() -> None:
    context = Context()
    context.heartbeat()
    assert not context.stop_requested()
    assert not context.snapshot_requested()
