"""Command line: `graft train` and other calls of the service; `graft up` starts the service."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from graft import (
    backbone_commands,
    doctor,
    export_commands,
    job_commands,
    key_commands,
    model_commands,
    predict_commands,
    push_commands,
    recipe_commands,
)
from graft.terminal import (
    EXIT_CODES,
    ID,
    UNSUCCESSFUL,
    AsJson,
    Url,
    become,
    connect,
    fail,
    print_json,
    say,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's base of errors in how a command is written; releases of Typer have it in different places."""


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """End with one line, and not with a box, where a command is written wrongly."""
    try:
        yield
    except USAGE_ERROR as error:
        context = getattr(error, "ctx", None)
        if context is None or type(error).__name__ == "NoArgsIsHelpError":  # which is the help
            raise
        path, message = context.command_path, str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
        fail(f"{message}{'' if message.endswith('?') else '.'} `{path} --help` says what there is.", status=2)


class _Commands(TyperGroup):
    """Commands whose wrong use is told in one line, as every other error."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _told_in_one_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _told_in_one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, help="Fine-tune pretrained networks on your images.", epilog=EXIT_CODES
)

for command in (
    job_commands.train,
    job_commands.watch,
    job_commands.logs,
    job_commands.jobs,
    job_commands.job,
    job_commands.trials,
    job_commands.candidates,
    job_commands.compare,
    job_commands.cancel,
    job_commands.pause,
    job_commands.stop,
    job_commands.resume,
    job_commands.download,
    export_commands.export,
    export_commands.assemble,
    predict_commands.predict,
    push_commands.push,
    push_commands.prune,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(backbone_commands.app, name="backbones")
app.add_typer(key_commands.app, name="keys")
app.add_typer(model_commands.app, name="models")
app.add_typer(recipe_commands.app, name="recipes")

CUTS = ("name", "multiply_adds_below", "multiply_adds_above", "parameters_above", "bytes_per_feature")
VIEWS = {"job": "jobs", "ds": "data", "pred": "predictions", "bb": "backbones"}
"""Views of the page by how ids begin."""


@app.callback()
def _print_any_character() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of classes and files have characters that some terminals lack


@app.command()
def inspect(backbone: str, url: Url = None, as_json: AsJson = False) -> None:
    """Show where a backbone can be cut, and what that costs; a worker finds it if it is not known."""
    with connect(url) as client:
        found = client.inspect_backbone(backbone)
    if found.status == "failed":
        fail((found.error or {})["message"], UNSUCCESSFUL)
    if as_json:
        print_json(found)
        return
    show((found.inspection or {})["cuts"], CUTS, as_json)


@app.command()
def datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with connect(url) as client:
        show(list(client.datasets()), ("id", "name", "status", "images", "created_at"), as_json)


@app.command()
def skipped(dataset: str, url: Url = None, as_json: AsJson = False) -> None:
    """List the files of a dataset that are not used, and why."""
    with connect(url) as client:
        show(list(client.skipped(dataset)), ("file", "code", "message"), as_json)


@app.command()
def cache(
    empty: Annotated[bool, typer.Option("--empty", help="Delete its contents.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the size of the feature cache on each machine, and what it has saved."""
    with connect(url) as client:
        found = client.empty_cache() if empty else client.cache()
    columns = ("host", "folder", "bytes", "budget_bytes", "hits", "misses", "saved_seconds", "emptying")
    show(found["caches"], columns, as_json)


@app.command(name="open")
def open_page(
    name: Annotated[str, typer.Argument(help="Id of what to open, or a model's name; else the first view.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Open the service's page in a browser, and print its address."""
    with connect(url) as client:
        address = f"{client.url.rstrip('/')}/{choose_view(name)}"
    if as_json:
        print_json({"url": address})
    else:
        say(address)
        typer.launch(address)


def choose_view(name: str) -> str:
    """Choose the view of the page that shows something: a thing by its id, a backbone or a model by its name."""
    if not name:
        return ""
    kind = name.partition("_")[0]
    if kind == "ckpt":  # no model is named so
        return f"try?model={name}"
    if kind in VIEWS and ID.fullmatch(name):
        return f"{VIEWS[kind]}/{name}"
    return f"backbones/{name}" if "/" in name else f"models/{name}"


@app.command()
def up() -> None:
    """Run the whole service on this machine until Ctrl-C."""
    become("workers.standalone")


@app.command()
def api() -> None:
    """Run the API alone."""
    become("service.app")


@app.command()
def worker() -> None:
    """Run a worker alone, which polls the database; where there is a broker, messages wake it too."""
    become("workers")


@app.command()
def predictor() -> None:
    """Run a predictor alone, which answers with checkpoints; there may be several."""
    become("predictor")


@app.command()
def sweep() -> None:
    """Run the sweep alone: periodic maintenance, which cleans up after dead workers and deletes what has expired."""
    become("workers.maintenance")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    become("migrations")
