"""Whatever lies in the folder in which Graft is started: what runs is what was installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support import deployments

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

NAMES = ["graft", "service", "workers", "models", "migrations", "tests", "celery", "celeryconfig", "numpy", "torch"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder full of packages that have Graft's names or its libraries', each of which raises when it is imported."""
    for name in NAMES:
        package = tmp_path / "own" / name / "__init__.py"
        package.parent.mkdir(parents=True)
        package.write_text("raise ImportError(f'{__file__} was imported')\n")
    return tmp_path / "own"


def validate(address: str, archive: Path) -> None:
    """Have a worker and its child processes do something."""
    with Client(address) as client:
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])
    assert dataset["status"] == "ready", dataset


def test_the_embedded_default(folder: Path, tmp_path: Path, backbones: Path, archive: Path) -> None:
    env = deployments.environment(tmp_path / "data", backbones)
    with deployments.process(env, "up", folder):
        validate(deployments.ready(env), archive)


def test_each_part(folder: Path, tmp_path: Path, backbones: Path, archive: Path, redis_url: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    database_url = f"sqlite:///{data / 'graft.sqlite'}"
    with deployments.production(data, backbones, database_url, redis_url, folder) as address:
        validate(address, archive)
