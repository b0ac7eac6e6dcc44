"""Import contracts: a forbidden import, written into a copy of the tree, breaks each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in LINTER["contracts"]]

FORBIDDEN = {
    "workers stand on predictor, predictor on service, service on the catalog": (
        "service/jobs/lifecycle.py",
        "import workers.lease",
    ),
    "inside models, imports run downwards": ("models/nn/layers.py", "from models.catalog import recipe"),
    "models imports nothing of ours": ("models/datasets/pack.py", "import graft.images"),
    "service imports of models only the catalog": ("service/app.py", "from models.nn.layers import Dropout"),
    "what workers import of service knows no HTTP": (
        "service/errors.py",
        "from starlette.exceptions import HTTPException",
    ),
    "service loads no network and decodes no image": ("service/datasets/repository.py", "import numpy"),
    "what claims and supervises loads no network and decodes no image": (
        "workers/child_process.py",
        "from models.runtime.devices import choose",
    ),
    "graft, the client, imports nothing else of ours": ("graft/client.py", "from models.catalog.recipe import Recipe"),
}
"""A file for each contract, and an import that it forbids there."""


def lint(tree: Path) -> dict[str, str]:
    """Lint the imports of a tree: KEPT or BROKEN by the contract's name."""
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [program, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tree)}
    )
    verdicts = re.findall(r"^(.+?) (KEPT|BROKEN)\b", result.stdout, re.MULTILINE)
    assert verdicts, result.stdout + result.stderr
    return dict(verdicts)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy everything that the contracts are about."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in LINTER["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_contract_has_a_case() -> None:
    assert set(FORBIDDEN) == set(CONTRACTS)


def test_all_contracts_are_kept(tree: Path) -> None:
    assert lint(tree) == dict.fromkeys(CONTRACTS, "KEPT")


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_a_forbidden_import_breaks_the_contract(tree: Path, contract: str) -> None:
    file, statement = FORBIDDEN[contract]
    path = tree / file
    path.write_text(f"{path.read_text()}\n{statement}\n")
    assert lint(tree)[contract] == "BROKEN"
