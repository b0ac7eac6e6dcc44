"""`graft up`: run API, workers, predictor and sweep as processes of one command, on one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import httpx

from service import startup
from service.settings import Settings, find_misspelled, from_environment
from service.startup import CannotStart
from workers import device
from workers.child_process import die_with_parent
from workers.stop_signal import StopSignal
from workers.tracking.tracking import check_packages

PARTS = {"API": "service.app", "sweep": "workers.maintenance", "predictor": "predictor"}
STOP_SECONDS = 4.0
"""Time to end before a part is killed; workers have GRAFT_DRAIN_SECONDS more."""
CHECK_SECONDS = 0.2
MOST_EARLY_ENDS = 3
"""Ends of parts, before the service is first ready, after which it gives up."""


class Standalone:
    """Runs the processes of `graft up`, and restarts one that dies."""

    def __init__(self, settings: Settings, stopping: StopSignal) -> None:
        self.settings, self.stopping = settings, stopping
        workers = {f"worker {number + 1}": "workers" for number in range(settings.workers)}
        self._modules = {**PARTS, **workers}
        # Without misspelled settings, of which each part would warn again.
        self._environment = {name: value for name, value in os.environ.items() if name not in find_misspelled()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ready = False
        self._early_ends = 0

    def run(self) -> None:
        """Run all parts until a signal to stop; raises CannotStart."""
        startup.warn_of_misspelled_settings()
        startup.check_port(self.settings)
        device.check_driver(self.settings.device)
        check_packages(self.settings)
        startup.prepare_data(self.settings)
        startup.check_storage(self.settings)
        startup.prepare_worker_folders(self.settings)
        device.check_in_a_process(self.settings.device)
        startup.upgrade_database(self.settings)
        startup.check_keys(self.settings)
        for part in self._modules:
            self._start(part)
        try:
            self._watch()
        finally:
            self._stop()

    def _start(self, part: str) -> None:
        # In a session of its own, so that Ctrl-C reaches it through us alone.
        self._processes[part] = subprocess.Popen(
            [sys.executable, "-m", self._modules[part]],
            env=self._environment,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGTERM),  # safe: this process has one thread
        )

    def _watch(self) -> None:
        while not self.stopping.wait(CHECK_SECONDS):
            if not self._ready and self._answers():
                self._ready = True
                print(f"Graft is ready at {self.settings.address}", flush=True)
            for part, process in self._processes.items():
                if process.poll() is not None:
                    self._start_again(part, process.returncode)

    def _start_again(self, part: str, status: int) -> None:
        if not self._ready:
            self._early_ends += 1
            if status == startup.CANNOT_START:  # it has said why
                raise SystemExit(1)
        if self._early_ends >= MOST_EARLY_ENDS:
            raise CannotStart(f"The {part} ended with status {status}, again; its output is above.")
        print(f"The {part} ended with status {status}; starting it again", file=sys.stderr)
        self.stopping.wait(1.0)
        self._start(part)

    def _answers(self) -> bool:
        try:
            # Not through a proxy that the environment names: it is this machine's.
            return httpx.get(f"{self.settings.address}/readyz", timeout=1, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for part, process in self._processes.items():
            more = 0.0 if part in PARTS else self.settings.drain_seconds
            try:
                process.wait(max(0.0, until + more - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> int:
    """Run the whole service until SIGTERM or SIGINT."""
    settings = from_environment()
    try:
        Standalone(settings, StopSignal()).run()
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
