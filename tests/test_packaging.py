"""The container files are parsed, and agree with the code."""

from __future__ import annotations

import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

from graft.cli import app
from service.settings import Settings

ROOT = Path(__file__).parents[1]


def compose() -> dict[str, Any]:
    """The compose file."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


def test_compose_has_every_part_of_the_production_form() -> None:
    services = compose()["services"]
    assert {"db", "redis", "migrate", "api", "worker", "sweep"} <= services.keys()
    devices = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
    for name in ("api", "worker", "sweep"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert needed in services, f"{name} depends on {needed}"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose()["volumes"]


def test_every_setting_that_compose_and_the_image_name_exists() -> None:
    known = {f"GRAFT_{name.upper()}" for name in Settings.model_fields}
    named = {name for service in compose()["services"].values() for name in service.get("environment", {})}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("ENV "):
            named |= {word.split("=")[0] for word in shlex.split(line)[1:]}
    assert {name for name in named if name.startswith("GRAFT_")} <= known


def test_every_command_that_compose_runs_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for service in compose()["services"].values():
        if service.get("command", [""])[0] == "graft":
            assert service["command"][1] in commands
    assert [script.value for script in entry_points(group="console_scripts", name="graft")] == ["graft.cli:app"]


def test_the_image_copies_only_what_there_is_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert set(instructions) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "CMD"}
    assert instructions[0] == "FROM"
    assert "USER graft" in lines
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
