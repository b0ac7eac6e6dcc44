"""Command line of pushes and of retention: `graft push` and `graft prune`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from graft.errors import InputUnusable
from graft.terminal import AsJson, Url, connect, print_json, say, show

TOKENS = {"hub": "HF_TOKEN", "mlflow": "MLFLOW_TRACKING_TOKEN"}
COLUMNS = ("id", "job", "kind", "dataset", "created_at", "head_bytes")


def push(
    checkpoint: Annotated[str, typer.Argument(help="Its id, ckpt_….")],
    to: Annotated[str, typer.Option(help="hub (its token in HF_TOKEN) or mlflow (in MLFLOW_TRACKING_TOKEN).")],
    repo: Annotated[str | None, typer.Option(help="Hub: ORG/NAME; it is made where it does not exist.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Hub: make a new repository public.")] = False,
    revision: Annotated[str | None, typer.Option(help="Hub: branch to commit to.")] = None,
    uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow: address of the server.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="MLflow: name of the registered model.")] = None,
    username: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_USERNAME", help="MLflow: the token is this user's password.")
    ] = None,
    format: Annotated[str, typer.Option(help="hub, or bundle for networks that timm has not.")] = "hub",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Push a checkpoint to a repository of the Hugging Face Hub, or to an MLflow registry."""
    with connect(url) as client:
        if to not in TOKENS:
            raise InputUnusable(f"--to {to}: write hub or mlflow.")
        token = os.environ.get(TOKENS[to], "").strip() or None
        if to == "hub" and token is None:
            raise InputUnusable("Set HF_TOKEN to a token that may write to the repository.")
        options: dict[str, Any] = (
            {"repo": repo, "private": not public, "revision": revision}
            if to == "hub"
            else {"uri": uri, "model": model, "username": username}
        )
        given = {name: value for name, value in options.items() if value is not None}
        pushed = client.push(checkpoint, to, token, format=format, **given)
    if as_json:
        print_json(pushed)
    else:
        say(pushed.url)


def prune(
    keep_newest: Annotated[int | None, typer.Option(help="Number of each dataset's newest ones to keep.")] = None,
    keep_best: Annotated[int | None, typer.Option(help="Number of each dataset's most accurate ones to keep.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Age in days up to which all are kept.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset, ds_….")] = None,
    job: Annotated[str | None, typer.Option(help="Only of this job, job_….")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it, only say which.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete checkpoints that no rule keeps and nothing uses, or say which they would be."""
    rules = {"keep_newest": keep_newest, "keep_best": keep_best, "keep_days": keep_days, "dataset": dataset, "job": job}
    given = {name: value for name, value in rules.items() if value is not None}
    with connect(url) as client:
        found = client.retention(dry_run=not yes, **given)
        show(found["data"], COLUMNS, as_json)
        if as_json:
            return
        for used in found["protected"]:
            say(f"{used['id']} stays: {used['reason']}")
        count = len(found["data"])
        say(f"Deleted {count} checkpoints" if yes else f"--yes deletes these {count} checkpoints")
        if found["has_more"]:
            say("There are more: run it again.")
