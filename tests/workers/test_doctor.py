"""Checks of a machine: each tells what is wrong, and what to do."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from service import startup
from service.settings import Settings
from tests.support.misbehaving_server import listen
from workers import doctor
from workers.tracking import tracking

if TYPE_CHECKING:
    from pathlib import Path


def test_a_machine_is_checked_from_settings_to_gpu(tmp_path: Path) -> None:
    env = {**os.environ, "GRAFT_DATA": str(tmp_path / "data"), "HF_HUB_OFFLINE": "1", "GRAFT_PROT": "1"}
    command = [sys.executable, "-m", "workers.doctor"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    names = ["versions", "settings", "database", "broker", "storage", "disk", "backbones", "GPU", "hub", "trackers"]
    assert list(found) == names
    assert "did you mean GRAFT_PORT?" in found["settings"]["message"]
    assert "graft migrate" in found["database"]["message"]
    states = {name: found[name]["state"] for name in ("settings", "database", "broker", "storage", "hub")}
    assert states == {"settings": "problem", "database": "note", "broker": "ok", "storage": "note", "hub": "note"}
    assert list(tmp_path.iterdir()) == [], "a check makes nothing"


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
    monkeypatch.setattr(doctor, "LOW_BYTES", 0)
    assert doctor.check_disk(settings)[0] == "ok"
    monkeypatch.setattr(doctor, "LOW_BYTES", 1 << 62)
    assert "Free some space" in doctor.check_disk(settings)[1]


def test_a_folder_of_backbones_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "own" / "one").mkdir(parents=True)
    assert "1 folders" in doctor.check_backbones(Settings(data=tmp_path, backbones=tmp_path / "own"))[1]
    checks = {check["name"]: check for check in doctor.run_checks(Settings(data=tmp_path, backbones=tmp_path / "no"))}
    assert checks["backbones"]["state"] == "problem"
    assert "does not exist" in checks["backbones"]["message"]


def test_a_database_is_told_where_it_is_outdated_missing_or_cannot_be_made(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    assert doctor.check_database(settings)[0] == "note"
    startup.upgrade_database(settings)
    assert doctor.check_database(settings) == ("ok", "SQLite")
    elsewhere = tmp_path / "other.sqlite"
    sqlite3.connect(elsewhere).close()
    checks = {}
    for url in (elsewhere, elsewhere / "in" / "a" / "file.sqlite"):
        for check in doctor.run_checks(Settings(data=tmp_path / "no", database_url=f"sqlite:///{url}")):
            checks[url, check["name"]] = check
    assert "graft migrate" in checks[elsewhere, "database"]["message"]
    assert checks[elsewhere, "database"]["state"] == "problem"
    assert "GRAFT_DATABASE_URL" in checks[url, "database"]["message"]
    assert not (tmp_path / "no").exists()


def test_a_check_that_fails_itself_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, device="cpu").model_copy(update={"storage_url": 3})
    found = {check["name"]: check for check in doctor.run_checks(settings)}
    assert found["storage"]["state"] == "problem"
    assert found["storage"]["message"].startswith("this could not be checked (TypeError")
    assert list(found)[-1] == "trackers"


@pytest.mark.parametrize(
    ("status", "state"), [(200, "ok"), (404, "ok"), (401, "ok"), (502, "problem"), (403, "problem"), (429, "problem")]
)
def test_the_hub_is_told_by_its_answer(monkeypatch: pytest.MonkeyPatch, status: int, state: str) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with listen() as server:
        server.answers["HEAD", "/"] = lambda handler: handler.give(b"", status)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert doctor.check_hub(Settings())[0] == state


def test_the_device_of_the_settings_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = {None: ("H100", 80e9), 1: ("A30", 24e9)}

    def get_properties(device: torch.device) -> SimpleNamespace:
        name, memory = properties[device.index]
        return SimpleNamespace(name=name, total_memory=memory)

    monkeypatch.setattr(torch.cuda, "get_device_properties", get_properties)
    assert doctor.describe_device("auto")[1].startswith("H100, 80 GB")
    assert doctor.describe_device("cuda:1")[1].startswith("A30, 24 GB")
    assert doctor.describe_device("cpu") == ("note", "GRAFT_DEVICE=cpu: networks run on the processor")
    (tmp_path / "driver").write_text("")
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", tmp_path / "driver")
    assert doctor.describe_device("cpu")[0] == "note"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.describe_device("auto")[0] == ("ok" if torch.backends.mps.is_available() else "problem")


def test_a_tracker_without_its_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_trackers(Settings()) == ("ok", "none is set")
    settings = Settings(data=tmp_path, tensorboard=tmp_path, device="cpu")
    assert doctor.check_trackers(settings)[0] == "ok"
    monkeypatch.setitem(tracking.PACKAGES, "tensorboard", "no_such_package")
    found = {check["name"]: check for check in doctor.run_checks(settings)}
    assert found["trackers"]["state"] == "problem"
    assert "GRAFT_TENSORBOARD" in found["trackers"]["message"]
