"""Terminal: what is printed is as the service sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft import terminal

if TYPE_CHECKING:
    import pytest


def test_names_with_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show([{"name": "[/b] [red]x"}], ("name",), as_json=False)
    assert "[/b] [red]x" in capsys.readouterr().out
