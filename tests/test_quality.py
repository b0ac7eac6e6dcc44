"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[1]
FILES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
]
SOURCES = [path for path in FILES if path.suffix == ".py" and path.exists()]
TEXTS = [path for path in FILES if path.suffix not in {".safetensors", ".png", ".csv"} and path.exists()]


def relative(path: Path) -> str:
    """A path as people say it."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_pickle_in_or_out(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = {f"{node.value.id}.{node.attr}"}
        else:
            continue
        assert not names & {"pickle", "joblib", "dill", "marshal", "shelve", "torch.load", "torch.save"}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is_and_stays_short(path: Path) -> None:
    text = path.read_text()
    assert path.match("migrations/versions/*") or ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 330


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_no_file_names_a_machine_or_a_registry(path: Path) -> None:
    text = path.read_text()
    homes = re.findall(r"(?<![\w.$}])/(?:home|root|work|Users)/\w+", text)
    registries = re.findall(r"https?://\S*(?:pypi|npmjs|artifactory|files\.pythonhosted)\S*", text)
    assert homes + registries == []


def test_the_readme_has_every_setting_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        row = re.search(rf"^\| `GRAFT_{name.upper()}` \| (.*?) \| (.*?) \|$", readme, re.MULTILINE)
        assert row, f"GRAFT_{name.upper()} is missing"
        default = field.default
        if (
            isinstance(default, str | int | float)
            and default != ""
            and default < (1 << 30 if not isinstance(default, str) else "~")
        ):
            assert str(default).removesuffix(".0") in row[1].replace(",", ""), row[0]


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= targets
