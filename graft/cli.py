"""Command line: `graft train` and other calls of the service; `graft up` starts the service."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, requires
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft import inputs
from graft.client import Client
from graft.errors import DownloadDamaged, GraftError, InputUnusable
from graft.progress import follow

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells expect."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Fine-tune pretrained networks on your images.")
# Lines of any length where they are piped, so that no id is cut off.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)

Url = Annotated[str | None, typer.Option(envvar="GRAFT_URL", help="Address of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's JSON.")]
Output = Annotated[Path, typer.Option(help="Where to put the checkpoint.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output if there is one.")]
BEST = Path("best.safetensors")


@app.callback()
def _print_any_character() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of classes and files have characters that some terminals lack


@app.command()
def train(
    images: Annotated[Path, typer.Argument(help="A folder or an archive, a folder for each class.")],
    backbone: Annotated[str, typer.Option(help="Name of a pretrained backbone, see graft backbones.")],
    recipe: Annotated[Path | None, typer.Option(help="A JSON file.")] = None,
    output: Output = BEST,
    overwrite: Overwrite = False,
    url: Url = None,
) -> None:
    """Upload images, train, and download the checkpoint."""
    with _client(url) as client:
        chosen = inputs.read_recipe(recipe) if recipe else {}
        inputs.check_images(images)
        inputs.check_output(output, overwrite=overwrite)
        client.check_recipe(chosen, backbone)
        dataset = _create_dataset(client, images)
        if dataset["status"] == "failed":
            _fail(dataset["error"]["message"])
        job = _follow_to_end(client, client.create_job(dataset["id"], backbone, chosen)["id"])
        _download(client, job["checkpoints"][0], output)
        split = "validation" if job["metrics"]["test"] is None else "test"
        _say(f"{output}: {split} {_describe_metrics(job['metrics'][split])}")


@app.command()
def watch(job: str, url: Url = None) -> None:
    """Follow a job until it has ended."""
    with _client(url) as client:
        _say(f"Checkpoint {_follow_to_end(client, job)['checkpoints'][0]}")


@app.command()
def jobs(status: str | None = None, url: Url = None, as_json: AsJson = False) -> None:
    """List jobs, newest first."""
    with _client(url) as client:
        rows = list(client.jobs(**({"status": status} if status else {})))
    _show(rows, ("id", "status", "phase", "backbone", "dataset", "created_at"), as_json)


@app.command()
def job(job: str, url: Url = None) -> None:
    """Show one job."""
    with _client(url) as client:
        console.print_json(data=client.job(job))


@app.command()
def trials(job: str, url: Url = None, as_json: AsJson = False) -> None:
    """List the heads that a job's search has tried, the best first."""
    with _client(url) as client:
        rows = client.trials(job)
    _show(rows, ("lr", "l2", "dropout", "epoch", "epochs", "validation_loss", "validation_accuracy"), as_json)


@app.command()
def cancel(job: str, url: Url = None) -> None:
    """Cancel a job."""
    with _client(url) as client:
        _say(client.cancel(job)["status"])


@app.command()
def pause(job: str, url: Url = None) -> None:
    """Pause a job until it is resumed."""
    with _client(url) as client:
        _say(client.pause(job)["status"])


@app.command()
def stop(job: str, url: Url = None) -> None:
    """Stop a running job now and keep its best epoch."""
    with _client(url) as client:
        _say(client.stop(job)["status"])


@app.command()
def resume(job: str, url: Url = None) -> None:
    """Resume a paused job."""
    with _client(url) as client:
        _say(client.resume(job)["status"])


@app.command()
def download(checkpoint: str, output: Output = BEST, overwrite: Overwrite = False, url: Url = None) -> None:
    """Download a checkpoint."""
    with _client(url) as client:
        inputs.check_output(output, overwrite=overwrite)
        _say(str(client.download(checkpoint, output)))


@app.command()
def backbones(
    contains: Annotated[str, typer.Argument(help="Part of the name.")] = "",
    source: str | None = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List backbones."""
    filters = {"q": contains} | ({"source": source} if source else {}) | {"limit": 1000}
    with _client(url) as client:
        _show(list(client.backbones(**filters)), ("name", "parameters", "input_size", "licence"), as_json)


@app.command()
def inspect(backbone: str, url: Url = None) -> None:
    """Show a backbone with its stages and cuts; a worker finds them if they are not known."""
    with _client(url) as client:
        found = client.inspect_backbone(backbone)
        if found["status"] == "failed":
            _fail(found["error"]["message"])
        console.print_json(data=found)


@app.command()
def datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with _client(url) as client:
        _show(list(client.datasets()), ("id", "name", "status", "images", "created_at"), as_json)


@app.command()
def skipped(dataset: str, url: Url = None, as_json: AsJson = False) -> None:
    """List the files of a dataset that are not used, and why."""
    with _client(url) as client:
        _show(list(client.skipped(dataset)), ("file", "code", "message"), as_json)


@app.command()
def cache(
    empty: Annotated[bool, typer.Option("--empty", help="Delete its contents.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the size of the feature cache on each machine, and what it has saved."""
    with _client(url) as client:
        found = client.empty_cache() if empty else client.cache()
    columns = ("host", "folder", "bytes", "budget_bytes", "hits", "misses", "saved_seconds", "emptying")
    _show(found["caches"], columns, as_json)


@app.command()
def up() -> None:
    """Run the whole service on this machine until Ctrl-C."""
    _become("workers.standalone")


@app.command()
def api() -> None:
    """Run the API alone."""
    _become("service.app")


@app.command()
def worker() -> None:
    """Run a worker alone, which polls the database; where there is a broker, messages wake it too."""
    _become("workers")


@app.command()
def sweep() -> None:
    """Run the sweep alone: periodic maintenance, which cleans up after dead workers and deletes what has expired."""
    _become("workers.maintenance")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    _become("migrations")


def _become(module: str) -> None:
    """Replace this process by a part of the service."""
    _require_server()
    # Else Python, here and in child processes, imports a user's own `models` from the current folder first.
    os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(sys.executable, [sys.executable, "-m", module])


def _require_server() -> None:
    """Fail unless all packages of the extra `server` are installed."""
    try:
        for requirement in requires("graft") or ():
            if wanted := re.match(r"""([\w.-]+).*extra == ["']server["']""", requirement):
                distribution(wanted[1])
    except PackageNotFoundError as missing:
        _fail(f"This needs the package {missing.name}, which is not installed: pip install 'graft[server]'")


def _create_dataset(client: Client, images: Path) -> dict[str, Any]:
    """Upload images and wait until they are validated."""
    try:
        created = client.create_dataset(images)
    except KeyboardInterrupt:
        _fail("The upload was cut off, and nothing of it is kept.", INTERRUPTED)
    _say(f"Dataset {created['id']}")
    try:
        return client.wait_for_dataset(created["id"])
    except KeyboardInterrupt:
        _fail(f"No job was started. The dataset {created['id']} is kept; graft datasets lists it.", INTERRUPTED)


def _describe_metrics(metrics: dict[str, Any]) -> str:
    """Describe the metrics of one split in a line; a service of an older release lacks some."""
    names = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "map": "mean average precision",
        "constant_accuracy": "accuracy of always the same answer",
        "calibration_error": "calibration error",
    }
    return ", ".join(f"{name} {metrics[key]:.1%}" for key, name in names.items() if metrics.get(key) is not None)


def _follow_to_end(client: Client, job: str) -> dict[str, Any]:
    """Show a job until it has ended; fails unless it has succeeded."""
    _say(f"Job {job}")
    try:
        ended = follow(client, job, console)
    except KeyboardInterrupt:
        _fail(f"The job goes on. Watch it with `graft watch {job}`, end it with `graft cancel {job}`.", INTERRUPTED)
    except httpx.TransportError as error:
        _fail(f"The service does not answer ({error}). The job goes on; watch it with `graft watch {job}`.")
    if ended["status"] != "succeeded":
        _fail((ended["error"] or {}).get("message", f"The job was {ended['status']}."))
    return ended


def _download(client: Client, checkpoint: str, output: Path) -> None:
    """Download a checkpoint; where that fails, say how to do it later."""
    try:
        client.download(checkpoint, output)
    except (OSError, httpx.TransportError, DownloadDamaged) as error:
        later = f"graft download {checkpoint} --output FILE"
        _fail(f"The checkpoint could not be put at {output} ({error}). The service keeps it: {later}")


@contextmanager
def _client(url: str | None) -> Iterator[Client]:
    """Connect to the service; every error of it or of the connection ends the command in one line."""
    try:
        with Client(url) as client:
            yield client
    except (GraftError, DownloadDamaged, InputUnusable) as error:
        _fail(str(error))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        _fail(f"The address of the service (--url or GRAFT_URL) must be as http://127.0.0.1:8000 is: {error}")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        _fail(f"No Graft answers at {client.url} ({error}). Start one with `graft up`, or set GRAFT_URL.")
    except httpx.RequestError as error:
        _fail(f"The connection to {client.url} broke ({error}). Try again.")
    except OSError as error:
        _fail(f"{error.filename or client.url}: {error.strerror or error}.")


def _fail(message: str, status: int = 1) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("" if row[column] is None else escape(str(row[column])) for column in columns))
    console.print(table)
