"""`make demo`: start the service, run a job through its HTTP API, use the checkpoint, and stop the service."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from huggingface_hub import constants
from rich.console import Console
from rich.table import Table

from demo.classifying import classify
from demo.digits import write_archive
from demo.standalone import StartFailed, standalone
from graft.client import Client
from graft.errors import GraftError
from graft.progress import follow

if TYPE_CHECKING:
    from graft.record import Fields

SHIPPED = Path(__file__).parent / "backbones"
FROM_HUB, FROM_HERE = "timm/test_resnet.r160_in1k", "local/rendered_shapes"
console = Console(highlight=False)


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--dataset", type=Path, help="a folder or an archive of images, a folder for each class")
    parser.add_argument("--backbone", help="name of a pretrained backbone")
    chosen = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="graft-demo-") as folder:
            return run(Path(folder), chosen.dataset, chosen.backbone)
    except (GraftError, StartFailed) as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        return 130


def run(folder: Path, dataset: Path | None, named: str | None) -> int:
    """Run the demo in a temporary folder, with the named backbone or the default one."""
    backbone = named or _choose_backbone()
    # GRAFT_BACKBONES applies to a named backbone only, since it may lack the one that ships with Graft.
    backbones = Path(os.environ.get("GRAFT_BACKBONES") or SHIPPED) if named else SHIPPED
    if dataset is None:
        dataset = folder / "digits.tar"
        write_archive(dataset)
        console.print("Dataset: the 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, as PNGs")
    console.print(f"Starting the service, then fine-tuning [bold]{backbone}[/] on [bold]{dataset.name}[/]")
    with standalone(folder / "data", backbones) as address, Client(address) as client:
        console.print(f"Graft is running at {address}")
        created = client.wait_for_dataset(client.create_dataset(dataset)["id"])
        if created["status"] == "failed":
            console.print(f"[red]{created['error']['message']}[/]")
            return 1
        console.print(f"{created['images']:,} valid images in {len(created['classes'])} classes")
        started = client.create_job(created["id"], backbone)["id"]
        job = follow(partial(client.job, started), client.events(started), console)
        if job["status"] != "succeeded":
            console.print(f"[red]{(job['error'] or {}).get('message', job['status'])}[/]")
            return 1
        console.print(_format_table(job))
        checkpoint = client.download(job["checkpoints"][0], folder / "best.safetensors")
        console.print(f"Downloaded {checkpoint.stat().st_size:,} bytes. Predictions with plain timm:")
        for name, found, probability in classify(checkpoint, dataset, 3):
            console.print(f"  {name}: [bold]{found}[/] ({probability:.0%})")
    console.print("The service has stopped")
    return 0


def _choose_backbone() -> str:
    """Choose the Hub's backbone if the Hub can be reached, else the one that ships with Graft."""
    address = f"{constants.ENDPOINT}/{FROM_HUB}/resolve/main/config.json"
    try:
        if not constants.HF_HUB_OFFLINE and httpx.head(address, timeout=3.0, follow_redirects=True).is_success:
            return FROM_HUB
    except httpx.HTTPError:
        pass
    console.print(f"The Hugging Face Hub cannot be reached; using the backbone that ships with Graft: {FROM_HERE}")
    return FROM_HERE


def _format_table(job: Fields) -> Table:
    table = Table("result", "", box=None, title="The job", title_justify="left")
    metrics, seconds, cache = job["metrics"], job["seconds"], job["cache"]
    table.add_row("validation accuracy before training", f"{metrics['initial']['validation_accuracy']:.1%}")
    table.add_row("validation accuracy", f"{metrics['validation']['accuracy']:.1%}")
    if metrics["test"] is not None:
        table.add_row("test accuracy", f"[bold]{metrics['test']['accuracy']:.1%}[/]")
    for phase, spent in seconds.items():
        table.add_row(f"seconds {phase}", f"{spent:.1f}")
    total = sum(seconds.values())
    saved = cache["saved_seconds"]
    table.add_row("seconds in total", f"[bold]{total:.1f}[/]")
    table.add_row("time saved by the feature cache", f"{saved / (saved + total):.0%} ({saved:.1f} s)")
    return table


if __name__ == "__main__":
    sys.exit(main())
