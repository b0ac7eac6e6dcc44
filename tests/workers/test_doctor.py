"""Checks of a machine: each tells what is wrong, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from service.settings import Settings
from workers import doctor

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_machine_is_checked_from_settings_to_gpu(tmp_path: Path) -> None:
    env = {**os.environ, "GRAFT_DATA": str(tmp_path / "data"), "HF_HUB_OFFLINE": "1", "GRAFT_PROT": "1"}
    command = [sys.executable, "-m", "workers.doctor"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    names = ["versions", "settings", "database", "broker", "storage", "disk", "backbones", "GPU", "hub"]
    assert list(found) == names
    assert "did you mean GRAFT_PORT?" in found["settings"]["message"]
    assert "graft migrate" in found["database"]["message"]
    states = {name: found[name]["state"] for name in ("settings", "database", "broker", "storage", "hub")}
    assert states == {"settings": "problem", "database": "problem", "broker": "ok", "storage": "ok", "hub": "note"}


def test_an_invalid_setting_is_named(tmp_path: Path) -> None:
    env = {**os.environ, "GRAFT_PORT": "many"}
    done = subprocess.run(
        [sys.executable, "-m", "workers.doctor"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "GRAFT_PORT" in done.stderr.splitlines()[-1]


def test_a_broker_and_a_hub_that_do_not_answer_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=tmp_path, broker_url="redis://127.0.0.1:9/0")
    assert doctor.check_broker(settings)[0] == "problem"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    state, message = doctor.check_hub(settings)
    assert state == "problem"
    assert "HF_HUB_OFFLINE=1" in message


def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=tmp_path / "not" / "yet")
    assert doctor.check_disk(settings)[0] == "ok"
    monkeypatch.setattr(doctor, "LOW_BYTES", 1 << 62)
    assert "Free some space" in doctor.check_disk(settings)[1]


def test_a_folder_of_backbones_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "own" / "one").mkdir(parents=True)
    assert "1 folders" in doctor.check_backbones(Settings(data=tmp_path, backbones=tmp_path / "own"))[1]
    checks = {check["name"]: check for check in doctor.run_checks(Settings(data=tmp_path, backbones=tmp_path / "no"))}
    assert checks["backbones"]["state"] == "problem"
    assert "does not exist" in checks["backbones"]["message"]
