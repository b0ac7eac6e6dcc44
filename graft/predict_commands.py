"""Command line of predictions: `graft predict`, of some images at once, or of a dataset into a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graft import inputs
from graft.dataset_upload import upload_dataset
from graft.errors import InputUnusable
from graft.predictions import choose_format
from graft.progress import follow
from graft.terminal import (
    INTERRUPTED,
    UNSUCCESSFUL,
    AsJson,
    Overwrite,
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

COLUMNS = ("image", "model", "class", "probability", "set", "note")


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, or folders of them; with --output a dataset's id, a folder or archive."),
    ],
    model: Annotated[
        list[str], typer.Option(help="Name of a model or id of a checkpoint; may be given several times.")
    ],
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="The most probable classes that are shown.")] = 1,
    coverage: Annotated[float, typer.Option(help="Share of images whose set is to hold the right class.")] = 0.9,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Have a worker predict, and write a .csv, .jsonl or .parquet file."),
    ] = None,
    overwrite: Overwrite = False,
    saliency: Annotated[
        Path | None, typer.Option(help="Folder for PNGs that show which parts of an image speak for its class.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have models predict the classes of images."""
    with connect(url) as client:
        if output is not None:
            if saliency is not None:
                raise InputUnusable("Maps are drawn of single images: leave --output or --saliency out.")
            choose_format(output)
            inputs.check_output(output, overwrite=overwrite)
            where = choose_console(as_json)
            dataset = _find_dataset(client, images, where)
            made = client.create_prediction(dataset, model, top_k=top_k, coverage=coverage)
            ended = _write(client, made.id, output, where)
            if as_json:
                print_json(ended)
            return
        if any(map(inputs.is_dataset, images)):
            raise InputUnusable("The images of a dataset are many: name a file for the results, --output FILE.csv.")
        files = inputs.find_images(images)
        found = [
            {**answer, "image": str(file)}
            for batch in inputs.split_batches(files)
            for file, answer in zip(batch, client.predict(batch, model, top_k=top_k, coverage=coverage), strict=True)
        ]
        if saliency is not None:
            good = [file for file, answer in zip(files, found, strict=True) if not answer["error"]]
            _save_saliency(client, good, model, saliency)
    if as_json:
        print_json(found)
    else:
        rows = [row for answer in found for row in describe_answer(answer)]
        show(rows, COLUMNS, as_json=False)
    if any(answer["error"] for answer in found):
        raise typer.Exit(1)


def _find_dataset(client: Client, images: list[Path], where: Console) -> str:
    """Find the id of the dataset that a command names, or upload its images. Raises InputUnusable."""
    if len(images) != 1:
        raise InputUnusable("With --output, name one dataset, one folder or one archive.")
    found = inputs.parse_images(images[0])
    if isinstance(found, str):
        return found
    dataset = upload_dataset(client, found, where, labels="none")
    skipped = sum(dataset["report"]["counts"].values())
    if skipped:
        say(f"Files that are not used: {skipped:,}; graft skipped {dataset['id']} lists them", where)
    return str(dataset["id"])


def _write(client: Client, prediction: str, output: Path, where: Console) -> Fields:
    """Follow a batch prediction until it has ended, and download its results; fails unless it has succeeded."""
    say(f"Prediction {prediction}", where)
    try:
        ended = follow(partial(client.prediction, prediction), client.prediction_events(prediction), where)
    except KeyboardInterrupt:
        address = f"{client.url}/v1/predictions/{prediction}"
        fail(
            f"The prediction goes on: {address}/content has its results then, POST {address}/cancel ends it.",
            INTERRUPTED,
        )
    if ended["status"] != "succeeded":
        fail((ended["error"] or {}).get("message", f"The prediction was {ended['status']}."), UNSUCCESSFUL)
    client.download_predictions(prediction, output)
    errors = ended["progress"]["errors"]
    without = f", {errors:,} of them without predictions" if errors else ""
    say(f"{output}: {ended['images']:,} images{without}", where)
    return ended


def _save_saliency(client: Client, files: list[Path], models: list[str], folder: Path) -> None:
    """Save a saliency map of each image and model as FILE.MODEL.png, beside what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        for model in models:
            place, number = folder / f"{file.name}.{model}.png", 1
            while place.exists():
                number += 1
                place = folder / f"{file.name}.{number}.{model}.png"
            place.write_bytes(client.saliency(file, model))


def describe_answer(answer: Fields) -> list[dict[str, Any]]:
    """Describe what models say of an image in a row for each class, or why they say nothing."""
    image = answer["image"]
    if answer["error"]:
        return [{**dict.fromkeys(COLUMNS), "image": image, "note": answer["error"]["message"]}]
    return [
        {
            "image": image,
            "model": each["model"],
            "class": named["name"],
            "probability": f"{named['probability']:.1%}",
            "set": ", ".join(each["set"] or ()),
            "note": "unlike what it was trained on" if each["unlike_training"] else "",
        }
        for each in answer["predictions"]
        for named in each["classes"]
    ]
