"""Command line of backbones: `graft backbones` lists them, add imports one, pretrain makes one of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from typer.core import TyperGroup

from graft import inputs
from graft.backbone_report import describe
from graft.progress import follow, show_upload
from graft.recipes import build_recipe
from graft.terminal import (
    INTERRUPTED,
    UNREACHABLE,
    UNSUCCESSFUL,
    AsJson,
    Url,
    choose_console,
    connect,
    fail,
    print_json,
    say,
    show,
)

if TYPE_CHECKING:
    from rich.console import Console

    from graft.client import Client
    from graft.record import Fields
    from graft.results.backbones import InspectedBackbone, RankedBackbone
    from graft.upload_source import UploadSource

RANKING = ("rank", "backbone", "expected", "interval", "job", "image", "checkpoint", "features", "note")
"""Columns of a ranking."""


class ListsByDefault(TyperGroup):
    """A group whose first word may be part of a backbone's name: `graft backbones resnet` lists those."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command `list` where no other is named."""
        if "--help" not in args and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ListsByDefault,
    help="List backbones, add one from a file of another framework, or pretrain one on images of your own.",
)

Architecture = Annotated[
    str | None, typer.Option(help="Architecture of weights that do not say theirs: timm's, or torchvision/NAME.")
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        help="How images were prepared, as in mean=0.5,0.5,0.5,std=0.5,0.5,0.5,channel_order=bgr for values from 0 to "
        "1; further: input_size=224, interpolation, crop_pct. from_samples takes what fits the samples best."
    ),
]
Labels = Annotated[Path | None, typer.Option(help="A file with a line for each class of its own classifier.")]
Samples = Annotated[Path | None, typer.Option(help="A folder or .zip, with images in a folder for each class.")]


@app.command(name="list")
def list_backbones(
    contains: Annotated[str, typer.Argument(help="Part of the name.")] = "",
    source: str | None = None,
    status: Annotated[str | None, typer.Option(help="Such as importing or failed.")] = None,
    max_params: Annotated[int | None, typer.Option(help="Largest number of parameters.")] = None,
    max_multiply_adds: Annotated[int | None, typer.Option(help="Largest number of multiply-adds for an image.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Least ImageNet accuracy, from 0 to 1.")] = None,
    licence: Annotated[str | None, typer.Option(help="Such as apache-2.0.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List backbones with their ImageNet accuracy, where it is published, and what an image costs."""
    filters = {"q": contains, "source": source, "status": status, "licence": licence, "limit": 1000}
    limits = {"max_params": max_params, "max_multiply_adds": max_multiply_adds, "min_accuracy": min_accuracy}
    with connect(url) as client:
        given: dict[str, Any] = {name: value for name, value in filters.items() if value}
        given.update({name: value for name, value in limits.items() if value is not None})
        rows: list[Fields] = list(client.backbones(**given))
    statuses = ["status"] if source in ("upload", "pretraining") or status else []
    columns = ("name", *statuses, "parameters", "multiply_adds", "input_size", "accuracy", "licence")
    show(rows if as_json else [{**row, "name": _label(row)} for row in rows], columns, as_json)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A pretrained network: a file, or the folder of one.")],
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    architecture: Architecture = None,
    format: Annotated[str | None, typer.Option(help="The file's format, if it must be this one.")] = None,
    preprocessing: Preprocessing = None,
    labels: Labels = None,
    samples: Samples = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload a pretrained network, wait until it is imported, and print what was found."""
    with connect(url) as client:
        network = inputs.find_network(file)
        options = _read_options(preprocessing, labels, architecture) | ({"format": format} if format else {})
        created = _upload(client, network, name, options, samples, choose_console(as_json))
        _finish(client, created["id"], as_json=as_json)


@app.command()
def preprocessing(
    backbone: Annotated[str, typer.Argument(help="Its id, bb_….")],
    preprocessing: Annotated[str | None, typer.Argument(help="As of graft backbones add --preprocessing.")] = None,
    labels: Labels = None,
    samples: Samples = None,
    architecture: Architecture = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Go on with an import that asked for its preprocessing, labels or samples."""
    with connect(url) as client:
        options = _read_options(preprocessing, labels, architecture)
        earlier = [event["id"] for event in client.import_events(backbone)]
        client.answer_import(backbone, options, samples)
        _finish(client, backbone, after=earlier[-1] if earlier else None, as_json=as_json)


@app.command()
def pretrain(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, ds_…; its labels are not needed.")],
    source: Annotated[str, typer.Argument(metavar="FROM", help="The backbone to start from.")],
    method: Annotated[
        str, typer.Option(help="contrastive, masked, denoising, or supervised, which learns the dataset's labels.")
    ] = "contrastive",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, as in --set epochs=50; repeatable.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Longer side of the images, in pixels; by default the backbone's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Pretrain a backbone on the images of a dataset, and wait until other jobs can name it."""
    chosen = build_recipe(None, settings or []) | {"kind": method}
    with connect(url) as client:
        made = client.pretrain_backbone(dataset, source, chosen, name=name, image_size=image_size, seed=seed)
        _finish(client, made.id, as_json=as_json)


@app.command()
def recommend(
    dataset: Annotated[str, typer.Argument(help="Its id, ds_….")],
    candidates: Annotated[
        list[str] | None,
        typer.Argument(help="Names of backbones; by default local and imported ones, and those that jobs have used."),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Expected accuracy that a backbone must have to suffice.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Rank backbones on the training images of a dataset: expected accuracy, and what a job and an image cost."""
    with connect(url) as client:
        where = choose_console(as_json)
        made = client.create_recommendation(dataset, candidates or None, min_accuracy=min_accuracy)
        say(f"Recommendation {made.id}", where)
        try:
            read = partial(client.recommendation, made.id)
            follow(read, client.recommendation_events(made.id), where)
        except KeyboardInterrupt:
            address = f"{client.url}/v1/recommendations/{made.id}"
            fail(
                f"The recommendation goes on: GET {address} has its result, POST {address}/cancel ends it.", INTERRUPTED
            )
        ended = client.recommendation(made.id)
    if as_json:
        print_json(ended)
    else:
        show([_describe_candidate(candidate) for candidate in ended.candidates], RANKING, as_json=False)
        if ended.status == "cancelled":
            say("The recommendation was cancelled; a candidate that is not measured may be better.")
        if message := ended.advice or (ended.error or {}).get("message"):
            say(message)
    if ended.status != "succeeded" or ended.recommended is None:
        raise typer.Exit(UNSUCCESSFUL)


@app.command(name="show")
def show_backbone(backbone: str, url: Url = None, as_json: AsJson = False) -> None:
    """Show a backbone, and what its import or its pretraining found."""
    with connect(url) as client:
        found = client.backbone(backbone)
    if as_json:
        print_json(found)
        return
    for line in describe(found):
        say(line)


@app.command()
def delete(backbone: str, url: Url = None, as_json: AsJson = False) -> None:
    """Delete an uploaded or pretrained backbone that no job uses; ends its import or pretraining."""
    with connect(url) as client:
        client.delete_backbone(backbone)
    if as_json:
        print_json({"deleted": backbone})
    else:
        say(f"Deleted {backbone}")


def _describe_candidate(candidate: RankedBackbone) -> dict[str, Any]:
    """Describe a candidate in a row of the table of the ranking, with its error in place of figures it has not."""
    row: dict[str, Any] = dict.fromkeys(RANKING) | {"backbone": candidate.backbone}
    if candidate.expected is None:
        return row | {"note": (candidate.error or {}).get("message", "not measured")}
    return row | {
        "rank": candidate.rank,
        "expected": f"{candidate.expected:.1%}",
        "interval": f"{candidate.low:.1%} to {candidate.high:.1%}",
        "job": f"{candidate.seconds:,.0f} s",
        "image": f"{1000 * (candidate.latency_seconds or 0):,.0f} ms",
        "checkpoint": f"{(candidate.checkpoint_bytes or 0) / 1e6:,.1f} MB",
        "features": f"{(candidate.features_bytes or 0) / 1e6:,.1f} MB",
        "note": "cannot be told from the best" if candidate.tied and candidate.rank != 1 else "",
    }


def _label(row: Fields) -> str:
    return str(row["id"]) if row["name"] == row["id"] else f"{row['id']} ({row['name']})"


def _read_options(preprocessing: str | None, labels: Path | None, architecture: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {"architecture": architecture} if architecture else {}
    if preprocessing:
        options["preprocessing"] = inputs.parse_preprocessing(preprocessing)
    if labels:
        options["labels"] = inputs.read_labels(labels)
    return options


def _upload(
    client: Client,
    network: UploadSource,
    name: str | None,
    options: dict[str, Any],
    samples: Path | None,
    where: Console,
) -> InspectedBackbone:
    """Upload with a bar."""
    try:
        with show_upload(network, where) as sent:
            return client.create_backbone(network, name, options=options, samples=samples, sent=sent)
    except KeyboardInterrupt:
        fail("The upload was cut off. The same command continues it, or sends it again if it is small.", INTERRUPTED)


def _finish(client: Client, backbone: str, after: str | None = None, *, as_json: bool) -> None:
    """Show an import or a pretraining until it has ended, and its report; fails unless the backbone is ready."""
    where = choose_console(as_json)
    say(f"Backbone {backbone}", where)
    try:
        for event in client.import_events(backbone, after):
            if event["kind"] not in ("uploaded", "queued", "answered", "failed"):
                where.print(f"{event['time'][11:19]} {event['message']}", style="dim", markup=False)
    except KeyboardInterrupt:
        fail(f"The service goes on with it. See it with `graft backbones show {backbone}`.", INTERRUPTED)
    except httpx.TransportError as error:
        fail(
            f"The service does not answer ({error}). It goes on; see graft backbones show {backbone}.",
            UNREACHABLE,
        )
    found = client.backbone(backbone)
    if as_json:
        print_json(found)
    else:
        for line in describe(found):
            say(line)
    if found["status"] != "ready":
        raise typer.Exit(UNSUCCESSFUL)
