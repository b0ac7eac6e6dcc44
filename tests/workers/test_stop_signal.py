"""SIGTERM and SIGINT end every wait for them, however many come and whichever thread waits.

Each test runs in a process of its own: a signal that the kernel delivers late would otherwise end the tests' process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = """
import os, signal, threading
from workers.stop_signal import StopSignal

stopping = StopSignal()
"""


def run(program: str) -> None:
    """Run a program that has handlers of both signals as `stopping`; its assertions must hold."""
    subprocess.run([sys.executable, "-c", SETUP + program], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_of_the_main_thread(signum: signal.Signals) -> None:
    run(f"""
assert not stopping.wait(0.0)
timer = threading.Timer(0.05, os.kill, (os.getpid(), {signum.value}))
timer.start()
assert stopping.wait()
timer.join()
assert stopping.wait(), "a signal that has come ends later waits too"
""")


def test_a_signal_ends_the_wait_of_another_thread() -> None:
    run("""
waiting = threading.Thread(target=stopping.wait)
waiting.start()
os.kill(os.getpid(), signal.SIGTERM)
waiting.join()
assert stopping.wait(0.0)
""")


def test_many_signals_during_a_loop_of_waits_do_not_hang() -> None:
    """With a `threading.Event`, a signal in the midst of `wait` or of another handler could wait for itself."""
    run("""
def send():
    for _ in range(500):
        for signum in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), signum)

sender = threading.Thread(target=send)
sender.start()
while sender.is_alive():
    stopping.wait(0.0)
sender.join()
assert stopping.wait()
""")
