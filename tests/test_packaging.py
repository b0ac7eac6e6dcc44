"""Packaging: dependencies, locked requirements, container and continuous integration."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
import venv
from importlib.metadata import Distribution, distribution, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from graft.cli import app
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT = {"httpx", "typer", "rich"}
"""Dependencies of the client."""
LOCKS = {"requirements.txt": ["server", "s3", "openvino"], "requirements-dev.txt": ["dev"]}
"""Extras that each of the locked requirements files covers."""


def wanted(extras: list[str]) -> Iterator[Requirement]:
    """The requirements of the project with these extras."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, lines):
        if requirement.name == "graft":
            yield from wanted(sorted(requirement.extras))
        else:
            yield requirement


def locked(lock: str) -> dict[str, str]:
    """The version of each package in a locked requirements file; fails at a line of another form."""
    versions: dict[str, str] = {}
    text = (ROOT / lock).read_text().replace("\\\n", "")
    for line in text.splitlines():
        if not line.startswith("#"):
            entry = re.fullmatch(r"([\w.-]+)==([\w.+]+)( ; [^#]+?)?((\s+--hash=sha256:[0-9a-f]{64})+)", line)
            assert entry is not None, line
            versions[canonicalize_name(entry[1])] = entry[2]
    return versions


def test_the_client_needs_three_packages_and_says_that_it_is_typed() -> None:
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == CLIENT
    assert (ROOT / "graft" / "py.typed").exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_the_locked_requirements_are_those_of_the_project(lock: str) -> None:
    versions = locked(lock)
    for requirement in wanted(LOCKS[lock]):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}; run: make lock"
        assert Version(version) in requirement.specifier, f"{requirement} has {version} in {lock}; run: make lock"


def test_the_image_gets_the_versions_that_are_tested() -> None:
    assert locked("requirements.txt").items() <= locked("requirements-dev.txt").items()


@pytest.fixture(scope="module")
def client_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment as `pip install .` leaves it: the checkout, three packages and what those need."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for package in closure(CLIENT):
        for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (packages / top).symlink_to(Path(str(package.locate_file(top))))
    (packages / "graft.pth").write_text(f"{ROOT}\n")
    metadata = packages / f"graft-{PROJECT['version']}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    server = "".join(
        f'Requires-Dist: {line}; extra == "server"\n' for line in PROJECT["optional-dependencies"]["server"]
    )
    metadata.write_text(f"Metadata-Version: 2.4\nName: graft\nVersion: {PROJECT['version']}\n{server}")
    return folder / "bin" / "python"


def closure(names: set[str]) -> list[Distribution]:
    """The installed packages of these names, and all that they need here."""
    found: dict[str, Distribution] = {}
    waiting = sorted(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = distribution(name)
            requirements = map(Requirement, found[name].requires or ())
            waiting += [
                each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return list(found.values())


def graft(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line there, away from the checkout."""
    return run(python, "-m", "graft", *arguments)


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python that ends by itself, away from the checkout."""
    command = [python, "-W", "error", *arguments]
    return subprocess.run(command, cwd=python.parent, env={}, capture_output=True, text=True, timeout=60, check=False)


def test_the_client_works_with_nothing_else_installed(client_alone: Path) -> None:
    shown = graft(client_alone, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "train" in shown.stdout
    asked = graft(client_alone, "jobs", "--url", "http://127.0.0.1:9")
    assert asked.returncode == 3
    assert "No Graft answers" in asked.stderr
    imported = run(client_alone, "-c", "import graft; graft.Client(); import sqlalchemy")
    assert imported.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'sqlalchemy'"


@pytest.mark.parametrize("part", ["up", "api", "worker", "sweep", "migrate"])
def test_the_service_names_the_extra_that_it_lacks(client_alone: Path, part: str) -> None:
    refused = graft(client_alone, part)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "pip install 'graft[server]'" in line


def test_continuous_integration_and_the_hooks_run_what_anybody_can() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow[True].keys() == {"push", "pull_request"}, "YAML reads the key `on` as true"
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert hooks["repo"] == "local", "nothing is downloaded"
    check = (ROOT / "Makefile").read_text()
    for hook in hooks["hooks"]:
        assert hook["entry"].replace(".venv/bin/", "$(BIN)/") in check


def compose() -> dict[str, Any]:
    """The compose file."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


def test_compose_has_every_part_of_the_production_form() -> None:
    services = compose()["services"]
    assert {"db", "redis", "migrate", "api", "worker", "sweep"} <= services.keys()
    for name in ("api", "worker", "sweep"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert needed in services, f"{name} depends on {needed}"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose()["volumes"]


def test_compose_needs_no_gpu_and_gives_each_worker_one_of_its_own() -> None:
    services = compose()["services"]
    reserved = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in services.items()
        if "deploy" in service
    }
    assert [name for name, service in services.items() if "profiles" not in service and name in reserved] == []
    assert "profiles" not in services["worker"]
    ids = []
    for name, devices in reserved.items():
        (device,) = devices
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert services[name]["profiles"] == [f"gpu{device['device_ids'][0]}"]
        assert services[name]["command"] == services["worker"]["command"]
        ids += device["device_ids"]
    assert ids == ["0", "1", "2", "3"]


def test_every_setting_that_compose_and_the_image_name_exists() -> None:
    known = {f"GRAFT_{name.upper()}" for name in Settings.model_fields}
    named = {name for service in compose()["services"].values() for name in service.get("environment", {})}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("ENV "):
            named |= {word.split("=")[0] for word in shlex.split(line)[1:]}
    assert {name for name in named if name.startswith("GRAFT_")} <= known


def test_every_command_that_compose_runs_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {group.name for group in app.registered_groups if group.name}
    for service in compose()["services"].values():
        if service.get("command", [""])[0] == "graft":
            assert service["command"][1] in commands
    assert [script.value for script in entry_points(group="console_scripts", name="graft")] == ["graft.cli:app"]


def test_the_image_copies_every_package_and_only_what_there_is_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert set(instructions) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "CMD"}
    assert instructions[0] == "FROM"
    assert "USER graft" in lines
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    sources = {source for sources in copied for source in sources}
    ignored = set((ROOT / ".dockerignore").read_text().split())
    assert {source for source in sources if not (ROOT / source).exists() or source in ignored} == set()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= sources
