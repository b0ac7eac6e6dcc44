"""SIGTERM and SIGINT end every wait for them, however many come and whichever thread waits."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from workers.stop_signal import StopSignal

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def stopping() -> Iterator[StopSignal]:
    """A handler of this process's signals, removed afterwards."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield StopSignal()
    for signum, handler in before.items():
        # Ignoring a signal discards what is still pending for another thread, and would end this process.
        signal.signal(signum, signal.SIG_IGN)
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_wait_of_the_main_thread(stopping: StopSignal, signum: signal.Signals) -> None:
    assert not stopping.wait(0.0)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signum))
    timer.start()
    assert stopping.wait()
    timer.join()
    assert stopping.wait(), "a signal that has come ends later waits too"


def test_a_signal_ends_the_wait_of_another_thread(stopping: StopSignal) -> None:
    waiting = threading.Thread(target=stopping.wait)
    waiting.start()
    os.kill(os.getpid(), signal.SIGTERM)
    waiting.join()
    assert stopping.wait(0.0)


def test_many_signals_during_a_loop_of_waits_do_not_hang(stopping: StopSignal) -> None:
    """With a `threading.Event`, a signal in the midst of `wait` or of another handler could wait for itself."""

    def send() -> None:
        for _ in range(500):
            for signum in SIGNALS:
                os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send)
    sender.start()
    while sender.is_alive():
        stopping.wait(0.0)
    sender.join()
    assert stopping.wait()
