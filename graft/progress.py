"""Progress of a job on the terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from graft.errors import GraftError

if TYPE_CHECKING:
    from rich.console import Console

    from graft.client import Client

POLL_SECONDS = 0.5


def follow(client: Client, job: str, console: Console) -> dict[str, Any]:
    """Show a job's events as they come and its progress in a bar; returns the job once it has ended."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[details]}"),
        console=console,
    ) as bar:
        task = bar.add_task("queued", total=100, details="")
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(POLL_SECONDS):
                try:
                    current = client.job(job)
                except (httpx.TransportError, GraftError):  # the reader of the events decides how long to wait
                    continue
                bar.update(
                    task,
                    completed=current["progress"]["percent"],
                    description=current["phase"] or current["status"],
                    details=_format_wait(current) or _format_progress(current["progress"]),
                )

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            for event in client.events(job):
                if event["kind"] != "epoch" or event["data"]["epoch"] % 10 == 1:
                    message = f"[dim]{event['time'][11:19]}[/] {escape(event['message'])}"
                    bar.console.print(message, highlight=False)
        finally:
            ended.set()
            watcher.join()
        final = client.job(job)
        bar.update(task, completed=final["progress"]["percent"], description=final["status"], details="")
    return final


def _format_wait(job: dict[str, Any]) -> str:
    return f"waiting for {job['waiting_for']}" if job["waiting_for"] else ""


def _format_progress(progress: dict[str, Any]) -> str:
    parts = []
    if progress["epoch"]:
        parts.append(f"epoch {progress['epoch']} of at most {progress['epochs']}")
    if progress["images_per_second"]:
        parts.append(f"{progress['images_per_second']:,.0f} images/s")
    if progress["eta_seconds"]:
        parts.append(f"at most {progress['eta_seconds']:.0f} s left")
    return ", ".join(parts)
