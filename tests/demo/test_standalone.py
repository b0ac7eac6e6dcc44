"""Tests that the demo's service stops with the demo."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from demo import standalone

STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
print("ready at http://127.0.0.1:1", flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_service_that_does_not_end_is_killed_with_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put a program that ignores signals in the place of graft."""
    (tmp_path / "graft").mkdir()
    (tmp_path / "graft" / "__init__.py").touch()
    (tmp_path / "graft" / "__main__.py").write_text(STUBBORN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(standalone, "STOP_SECONDS", 0.2)
    with standalone.standalone(tmp_path / "data", tmp_path) as address:
        assert address == "http://127.0.0.1:1"
        child = int((tmp_path / "child").read_text())
        os.kill(child, 0)
    end = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(child)


def test_a_service_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "graft").mkdir()
    (tmp_path / "graft" / "__init__.py").touch()
    (tmp_path / "graft" / "__main__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(standalone.StartFailed, match="status 3"), standalone.standalone(tmp_path, tmp_path):
        pass
