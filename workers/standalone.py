"""The embedded default, `graft up`: API, workers and sweep as processes of one command, on one folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from functools import partial

import httpx

import migrations
from service.settings import Settings
from workers.processes import die_with_parent

PARTS = {"API": "service.app", "sweep": "workers.sweep"}
STOP_SECONDS = 4.0
"""What does not end by itself in this time is killed."""
CHECK_SECONDS = 0.2


class Standalone:
    """The processes of one `graft up`. One that dies is started again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        workers = {f"worker {number + 1}": "workers.runner" for number in range(settings.workers)}
        self._modules = {**PARTS, **workers}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> int:
        """Run until told to stop; gives the exit status."""
        for folder in (self.settings.data, self.settings.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        migrations.upgrade(self.settings.database)
        for part in self._modules:
            self._start(part)
        try:
            self._watch()
        finally:
            self._stop()
        return 0

    def stop(self, *_: object) -> None:
        """End everything."""
        self.stopping.set()

    def _start(self, part: str) -> None:
        # In a session of its own, so that Ctrl-C reaches it through us alone.
        self._processes[part] = subprocess.Popen(
            [sys.executable, "-m", self._modules[part]],
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGTERM),  # safe: this process has one thread
        )

    def _watch(self) -> None:
        ready = False
        while not self.stopping.wait(CHECK_SECONDS):
            if not ready and (ready := self._answers()):
                print(f"Graft is ready at {self._address}", flush=True)
            for part, process in self._processes.items():
                if process.poll() is not None:
                    print(
                        f"The {part} ended with status {process.returncode}; starting it again",
                        file=sys.stderr,
                    )
                    time.sleep(1.0)
                    self._start(part)

    @property
    def _address(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._address}/readyz", timeout=1).is_success
        except httpx.TransportError:
            return False

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> int:
    """Run the whole service until Ctrl-C."""
    standalone = Standalone(Settings())
    signal.signal(signal.SIGTERM, standalone.stop)
    signal.signal(signal.SIGINT, standalone.stop)
    return standalone.run()


if __name__ == "__main__":
    sys.exit(main())
