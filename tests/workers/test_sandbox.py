"""The sandbox of the importing child: code that an upload might run reaches no network, no file and no process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.sandboxed_work import Order, Tried
from workers.child_process import Child, ChildDied

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has the sandbox")


def attempt(do: str, tmp_path: Path, cpu_seconds: int = 60) -> Tried:
    """Have a child try something in the sandbox; fails on a machine without one."""
    folder, readable, outside = tmp_path / "work", tmp_path / "upload", tmp_path / "secrets" / "graft.sqlite"
    for path in (folder, outside.parent):
        path.mkdir()
    readable.write_text("the upload")
    outside.write_text("a secret")
    order = Order(do=do, folder=folder, readable=readable, outside=outside, cpu_seconds=cpu_seconds)
    with Child("tests.support.sandboxed_work", order) as child:
        (line,) = [line for lines in child.read_batches() for line in lines]
    tried = Tried.model_validate_json(line)
    assert tried.lacking == []
    assert (outside.read_text(), readable.read_text()) == ("a secret", "the upload")
    assert list(outside.parent.iterdir()) == [outside]
    return tried


@pytest.mark.parametrize(
    "do",
    [
        "connect",
        "call socket",
        "unix socket",
        "read outside",
        "list outside",
        "write outside",
        "make outside",
        "remove outside",
        "truncate outside",
        "write what may be read",
        "link outside",
        "start a program",
        "start a shell",
        "fork",
        "kill another",
        "read another's environment",
        "read another's memory",
        "write much",
    ],
)
def test_what_reaches_out_is_refused(do: str, tmp_path: Path) -> None:
    tried = attempt(do, tmp_path)
    assert not tried.was_possible, tried.result


@pytest.mark.parametrize(
    ("do", "result"),
    [
        ("read what may be read", "the upload"),
        ("write inside", "1"),
        ("import", "colorsys fsspec.implementations.memory"),
        ("start a thread", "ran"),
        ("dump core", "(0, 0)"),
    ],
)
def test_what_an_import_needs_is_possible(do: str, result: str, tmp_path: Path) -> None:
    tried = attempt(do, tmp_path)
    assert (tried.was_possible, tried.result) == (True, result)


def test_the_current_folder_is_the_attempts_own(tmp_path: Path) -> None:
    assert attempt("current folder", tmp_path).result == str(tmp_path / "work")


@pytest.mark.parametrize("do", ["read environment", "read initial environment"])
def test_the_environment_holds_no_secret(do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GRAFT_DATABASE_URL"):
        monkeypatch.setenv(name, "a secret")
    tried = attempt(do, tmp_path)
    assert tried.was_possible
    assert "secret" not in tried.result
    assert "HF_TOKEN" not in tried.result


def test_a_child_that_computes_for_too_long_ends_by_a_cause_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ChildDied) as caught:
        attempt("spin", tmp_path, cpu_seconds=1)
    assert (caught.value.cause, caught.value.is_own_fault) == ("cpu_time_exceeded", True)
