"""Progress: lines when piped; on a terminal a bar, and the curve of the validation accuracy below it."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console

from graft import progress
from graft.errors import GraftError
from graft.upload_source import list_source
from tests.support.records import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

ENDED = make_job(status="succeeded")


def event(kind: str, message: str, **data: Any) -> dict[str, Any]:
    """Make an event."""
    return {"kind": kind, "message": message, "data": data, "time": "2026-11-28T12:00:01.000Z"}


EVENTS = [event("phase", "Training"), *(event("epoch", f"Epoch [{number}]", epoch=number) for number in range(1, 13))]


def test_a_line_of_bars_is_scaled_to_its_values() -> None:
    assert progress.draw_sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert progress.draw_sparkline([0.25] * 3) == "▄▄▄"
    assert progress.draw_sparkline([]) == ""
    assert len(progress.draw_sparkline(range(1000))) == progress.WIDEST


def test_lines_are_printed_when_piped() -> None:
    file = StringIO()
    found = progress.follow(lambda: ENDED, EVENTS, Console(file=file, width=20))
    assert found == ENDED
    assert file.getvalue().splitlines() == ["12:00:01 Training", "12:00:01 Epoch [1]", "12:00:01 Epoch [11]"]


def test_a_terminal_shows_the_curve_and_survives_a_service_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    file, reads = StringIO(), 0

    def read() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise GraftError(503, "database_unavailable", "away")
        steps = {"percent": 50.0, "epoch": 3, "epochs": 9, "images_per_second": 1234.0, "eta_seconds": 5.0}
        tried = {**steps, "candidate": "probe of local/small"}
        return make_job(phase="training", progress=tried) if not done else ENDED

    done: list[bool] = []

    def events() -> Iterator[dict[str, Any]]:
        yield EVENTS[0]
        for epoch, accuracy in ((1, 0.25), (2, 0.75), (3, 0.5)):
            yield event("epoch", f"Epoch {epoch}", epoch=epoch, validation_accuracy=accuracy)
        while reads < 4:
            pass
        done.append(True)

    console = Console(file=file, force_terminal=True, width=150)
    assert progress.follow(read, events(), console) == ENDED
    shown = file.getvalue()
    assert "validation accuracy ▁█▅ 50.0%, best 75.0%" in shown
    assert "probe of local/small, epoch 3 of at most 9, 1,234 images/s, at most 5 s left" in shown


def test_an_upload_shows_a_bar_on_a_terminal_alone(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"1" * 100)
    for is_terminal in (True, False):
        file = StringIO()
        console, source = Console(file=file, force_terminal=is_terminal), list_source(tmp_path / "a.zip")
        with progress.show_upload(source, console) as sent:
            sent(50)
        assert ("50/100" in file.getvalue()) == is_terminal
