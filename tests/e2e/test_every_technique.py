"""A job through the API with every technique of the catalog: it is stored, it runs, and it changes the training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from graft.client import Client
from models.catalog.families import FAMILIES
from tests.support import deployments
from tests.support.images import coloured_classes, write_zip
from tests.support.recipe_variants import NAMES, TECHNIQUES, example, placed
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.technique import Technique

pytestmark = pytest.mark.extended

SETTLED = {"engine": "eager", "precision": "float32"}
"""What is otherwise chosen by measuring, so that two jobs of one recipe give the same figures."""
WITHOUT: dict[str, Any] = {"regularizers": [], "augmentations": []}
"""The recipe without a technique of the family, where it can be without; in other families, with the default one."""
OPTIONAL = {
    "pooling",
    "pretraining",
    "gradient_clipping",
    "sharpness",
    "distillation",
    "averaging",
    "early_stopping",
    "target",
    "search",
}
BITING: dict[str, dict[str, Any]] = {
    "PiecewiseConstant": {"boundaries": [2.0], "factors": [1.0, 0.1]},
    "Performance": {"patience": 1},
    "ByValue": {"limit": 1e-3},
    "ByNorm": {"limit": 1e-3},
    "MaxNorm": {"r": 0.01},
    "EarlyStopping": {"patience": 1, "min_delta": 1.0},
    "Target": {"value": 0.0},
}
"""Fields with which a technique must change even six epochs on a few images."""


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
def dataset(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a dataset of three classes, one of them rarer than the others."""
    files = {name: data for name, data in coloured_classes(3, 12).items() if not name.startswith("blue/01")}
    archive = write_zip(tmp_path_factory.mktemp("images") / "few.zip", files)
    return str(client.wait_for_dataset(client.create_dataset(archive)["id"])["id"])


@pytest.fixture(scope="module")
def known(client: Client, dataset: str) -> dict[str, str]:
    """Ids that required fields of techniques name: a dataset, and a checkpoint that knows its classes."""
    job = client.wait(client.create_job(dataset, "local/small", {"epochs": 2})["id"])
    (checkpoint,) = client.checkpoints(job["id"])
    return {"dataset": dataset, "teacher": str(checkpoint["id"])}


@pytest.fixture(scope="module")
def jobs(client: Client, dataset: str, known: dict[str, str]) -> dict[str, str]:
    """The id of a job for each technique, and for each family one without; all are asked for at once."""
    recipes = {name: recipe_of(*choice, known) for name, choice in zip(NAMES, TECHNIQUES, strict=True)}
    recipes.update((family, recipe_without(family)) for family in FAMILIES)
    return {name: client.create_job(dataset, "local/small", recipe)["id"] for name, recipe in recipes.items()}


def recipe_of(family: str, technique: type[Technique], known: dict[str, str]) -> dict[str, Any]:
    """The JSON of a recipe with the technique."""
    return {**placed(family, fields_of(technique, known)), **SETTLED}


def fields_of(technique: type[Technique], known: dict[str, str]) -> dict[str, Any]:
    """The JSON of the technique."""
    return {**example(technique, **known).model_dump(mode="json"), **BITING.get(technique.__name__, {})}


def recipe_without(family: str) -> dict[str, Any]:
    """The JSON of the same recipe without a technique of the family, or with the family's default."""
    absent: Any = None if family in OPTIONAL else {}
    recipe = {**placed(family, absent), **SETTLED}
    return {**recipe, family: WITHOUT[family]} if family in WITHOUT else recipe


def figures(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """Read the measurements of a job that follow from its recipe alone."""
    measured = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "view")
    rows = [[row[name] for name in measured] for row in client.metrics(job["id"])]
    return {"rows": rows, "metrics": job["metrics"], "stop_reason": job["stop_reason"]}


def is_resolved_from(given: Any, stored: Any) -> bool:
    """Tell whether a stored value is the given one with every "auto" (or "same") in it resolved."""
    if isinstance(given, dict) and isinstance(stored, dict):
        return all(name in stored and is_resolved_from(value, stored[name]) for name, value in given.items())
    if isinstance(given, list) and isinstance(stored, list) and len(given) == len(stored):
        return all(is_resolved_from(*pair) for pair in zip(given, stored, strict=True))
    return bool(given in ("auto", "same") or given == stored)


def values_in(stored: Any) -> Iterator[Any]:
    """List a stored value and all values in it."""
    yield stored
    for part in stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ():
        yield from values_in(part)


@pytest.mark.parametrize(("name", "family", "technique"), [(n, *t) for n, t in zip(NAMES, TECHNIQUES, strict=True)])
def test_a_job_uses_it(
    client: Client, jobs: dict[str, str], known: dict[str, str], name: str, family: str, technique: type[Technique]
) -> None:
    job, without = client.wait(jobs[name]), client.wait(jobs[family])
    for ended in (job, without):
        assert ended["status"] == "succeeded", ended["error"]
    assert '"auto"' not in json.dumps(job["recipe"])
    given = fields_of(technique, known)
    # A search is replaced by what it has found.
    assert family == "search" or any(is_resolved_from(given, value) for value in values_in(job["recipe"]))
    assert job["diagnosis"]["layers"]
    has_changed = figures(client, job) != figures(client, without)
    assert has_changed == (job["recipe"] != without["recipe"]), (
        "the recipe is ignored" if not has_changed else "by chance"
    )
