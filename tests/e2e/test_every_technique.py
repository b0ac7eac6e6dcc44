"""A job through the API with every technique of the catalog: a new member is covered by being there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from graft.client import Client
from tests.support import deployments
from tests.support.images import coloured_classes, write_zip
from tests.support.recipe_variants import NAMES, TECHNIQUES, recipe_with
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service with two workers, whose backbone knows the classes of the images."""
    folder = tmp_path_factory.mktemp("techniques")
    backbone = write_backbone(folder / "backbones" / "small")
    config = json.loads((backbone / "config.json").read_text())
    config["label_names"] = ["blue", "green", "red", *"abcdefg"]
    (backbone / "config.json").write_text(json.dumps(config))
    with deployments.embedded(folder, backbone.parent, GRAFT_WORKERS="2") as address, Client(address) as connected:
        yield connected


@pytest.fixture(scope="module")
def jobs(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The id of a job for each technique; all are asked for at once."""
    archive = write_zip(tmp_path_factory.mktemp("images") / "few.zip", coloured_classes(3, 12))
    dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
    asked = {}
    for name, (family, technique) in zip(NAMES, TECHNIQUES, strict=True):
        recipe = recipe_with(family, technique, dataset)
        asked[name] = client.create_job(dataset, "local/small", recipe)["id"]
    return asked


@pytest.mark.parametrize("name", NAMES)
def test_a_job_uses_it(client: Client, jobs: dict[str, str], name: str) -> None:
    job: dict[str, Any] = client.wait(jobs[name])
    assert job["status"] == "succeeded", job["error"]
    assert '"auto"' not in json.dumps(job["recipe"])
    assert job["diagnosis"]["layers"]
    assert 0 <= job["metrics"]["test"]["accuracy"] <= 1
