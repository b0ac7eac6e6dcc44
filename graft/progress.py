"""Live progress on the terminal: phase, bar, time left, and the curve of the validation accuracy; lines when piped."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.text import Text

from graft.epoch_history import EpochHistory
from graft.errors import GraftError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType

    from graft.record import Fields
    from graft.upload_source import UploadSource

POLL_SECONDS = 0.5
BARS = "▁▂▃▄▅▆▇█"
WIDEST = 60
"""Epochs that a sparkline shows, the last ones."""


def follow(
    read: Callable[[], Fields],
    events: Iterable[Fields],
    console: Console,
) -> Fields:
    """Show events as they come, and on a terminal below them the progress of what `read` gives; returns it as it ended.

    Of a job, the validation accuracy of the epochs is drawn.
    """
    history = EpochHistory()
    if not console.is_terminal:
        _print_events(events, console, history)
        return read()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[details]}"),
        console=console,
    )
    task = bar.add_task("queued", total=100, details="")
    ended = threading.Event()
    with Live(bar, console=console) as live:

        def show(current: Fields, details: str) -> None:
            description = current.get("phase") or current["status"]
            bar.update(task, completed=current["progress"]["percent"], description=description, details=details)
            live.update(_join(bar, history.epochs), refresh=True)

        def watch() -> None:
            while not ended.wait(POLL_SECONDS):
                try:
                    current = read()
                    show(current, _format_wait(current) or _format_progress(current["progress"]))
                except (httpx.TransportError, GraftError):  # the reader of the events decides how long to wait
                    continue

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            _print_events(events, live.console, history)
        finally:
            ended.set()
            watcher.join()
        final = read()
        show(final, "")
    return final


@contextmanager
def show_upload(source: UploadSource, console: Console) -> Iterator[Callable[[int], None]]:
    """Show a bar of an upload while it lasts, on a terminal; gives what is to be called with the size of each block."""
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=source.size)
        yield lambda size: bar.advance(task, size)


def draw_sparkline(values: Sequence[float]) -> str:
    """Draw values as a line of bars, the least as the lowest; of many, the last ones."""
    shown = list(values)[-WIDEST:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    steps = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * steps) if high > low else steps // 2] for value in shown)


def _print_events(events: Iterable[Fields], console: Console, history: EpochHistory) -> None:
    """Print events, of epochs each tenth, and collect the epochs."""
    for event in events:
        history.add(event)
        if event["kind"] != "epoch" or event["data"]["epoch"] % 10 == 1:
            console.print(Text.assemble((event["time"][11:19], "dim"), f" {event['message']}"), soft_wrap=True)


def _join(bar: Progress, epochs: Sequence[Fields]) -> RenderableType:
    accuracies = [epoch["validation_accuracy"] for epoch in epochs]
    if not accuracies:
        return bar
    line = f"validation accuracy {draw_sparkline(accuracies)} {accuracies[-1]:.1%}, best {max(accuracies):.1%}"
    return Group(bar, Text(line, no_wrap=True))


def _format_wait(job: Fields) -> str:
    return f"waiting for {job['waiting_for']}" if job.get("waiting_for") else ""


def _format_progress(progress: Fields) -> str:
    parts = [progress["candidate"]] if progress.get("candidate") else []
    if progress.get("epoch"):
        parts.append(f"epoch {progress['epoch']} of at most {progress['epochs']}")
    if progress.get("images_per_second"):
        parts.append(f"{progress['images_per_second']:,.0f} images/s")
    if progress["eta_seconds"]:
        parts.append(f"at most {progress['eta_seconds']:.0f} s left")
    return ", ".join(parts)
