"""Live output: HTML by IPython's display in a notebook, lines elsewhere."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from graft import notebook
from graft.notebook import LiveOutput
from graft.results.shared import Event

EVENT = Event({"time": "2026-11-28T12:00:01.000Z", "message": "Training"})


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """List what a notebook shows and changes; IPython itself is not among the packages of the tests."""
    found: list[tuple[str, str]] = []

    def display(markup: str, *, display_id: bool) -> Any:
        assert display_id
        found.append(("shown", markup))
        return SimpleNamespace(update=lambda changed: found.append(("changed", changed)))

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    vars(package)["get_ipython"] = lambda: SimpleNamespace(kernel=None)
    vars(module).update(display=display, HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "EACH_SECONDS", 0.0)
    return found


def test_a_notebook_shows_one_output_that_changes(shown: list[tuple[str, str]]) -> None:
    output = LiveOutput()
    assert output.is_notebook
    count = output.count_bytes("Uploading", 4)
    for size in (1, 3):
        count(size)
    assert [kind for kind, _ in shown] == ["shown", "changed"]
    assert "25%" in shown[0][1]
    assert "100%" in shown[1][1]


def test_a_notebook_shows_nothing_where_it_is_not_wanted(shown: list[tuple[str, str]]) -> None:
    LiveOutput(show=False).count_bytes("Uploading", 1)(1)
    assert shown == []


def test_elsewhere_lines_are_printed_only_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (None, False):
        LiveOutput(show).add_line(EVENT)
    assert capsys.readouterr().out == ""
    LiveOutput(show=True).add_line(EVENT)
    assert capsys.readouterr().out == "12:00:01 Training\n"
