"""Command line of models: names that point at checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from graft import completion
from graft.terminal import AsJson, Url, connect, print_json, say, show

COLUMNS = ("name", "checkpoint", "job", "moved_at", "moved_by")
HISTORY = ("seq", "checkpoint", "job", "created_by", "created_at")

app = typer.Typer(no_args_is_help=True, help="Names that point at checkpoints, and can be moved.")
Name = Annotated[
    str,
    typer.Argument(help="Letters, digits, dots, dashes and underscores.", autocompletion=completion.complete_models),
]


@app.command("list")
def list_models(url: Url = None, as_json: AsJson = False) -> None:
    """List models by name."""
    with connect(url) as client:
        show(list(client.models()), COLUMNS, as_json)


@app.command("set")
def put_model(
    name: Name,
    checkpoint: Annotated[str, typer.Argument(help="Its id, ckpt_…")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a name point at a checkpoint; a new name is made."""
    with connect(url) as client:
        model = client.put_model(name, checkpoint)
    if as_json:
        print_json(model)
    else:
        say(f"{name} is {model.checkpoint}")


@app.command()
def history(name: Name, url: Url = None, as_json: AsJson = False) -> None:
    """Show what a name has pointed at, and who moved it."""
    with connect(url) as client:
        show(client.model_history(name), HISTORY, as_json)


@app.command()
def delete(name: Name, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a name; its checkpoint stays."""
    with connect(url) as client:
        client.delete_model(name)
    if as_json:
        print_json({"deleted": name})
