"""Predictions: `make predict`, with BACKBONE=local/NAME DATASET=path MODELS=1000 PARTS='models http' KEEP=folder.

A whole service fine-tunes once, and then holds MODELS checkpoints of the same trunk: the job's own, and others whose
heads are its head and noise. Everything is measured in one run on one machine: what a model costs beside others in the
predictor alone, and what one image costs over HTTP against decoding it and the trunk. With KEEP, the service and its
models stay in that folder, so that the next run measures at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from benchmarks.predict import fine_tunes, in_predictor, over_http, servers
from benchmarks.predict.images import read_images
from demo.standalone import standalone
from graft.client import Client
from models.runtime.tuning import TUNING
from predictor.memory import ModelMemory
from service.database import Database
from service.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace

PARTS = ("first", "models", "http", "throughput", "servers", "kill")


def main() -> None:
    """Run the benchmark and print tables in Markdown."""
    parser = build_parser("make predict", __doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="these alone")
    parser.add_argument("--keep", type=Path, help="folder of the service, which a later run uses again")
    chosen = parser.parse_args()
    print(f"{describe()}\n", flush=True)
    with scratch(chosen.dataset) as (folder, dataset):
        run(chosen, chosen.keep or folder, folder, dataset)


def run(chosen: Namespace, kept: Path, folder: Path, dataset: Path) -> None:
    """Start a service on the folder `kept`, prepare its models there, and measure the chosen parts."""
    kept.mkdir(parents=True, exist_ok=True)
    data = kept / "data"
    with standalone(data, BACKBONES) as address, Client(address) as client:
        settings = Settings(data=data)
        database = Database(settings.database)
        made = fine_tunes.prepare(client, database, kept, dataset, chosen.backbone, chosen.models)
        sources = read_images(database, settings, made.dataset, folder)
        if "first" in chosen.parts:
            for _ in range(2):
                _, seconds = fine_tunes.measure_first_answer(client, made.dataset, chosen.backbone, sources[0])
                print(f"job succeeded → first answer of its model: {seconds:.2f} s", flush=True)
        memory = ModelMemory(database, settings.model_copy(update={"cache_dir": folder / "cache"}))
        ((trunk, _, _),) = memory.get([made.checkpoint])
        trunk.compile()
        if "models" in chosen.parts:
            in_predictor.measure_models(memory, [made.checkpoint, *made.others], sources)
        if "http" in chosen.parts:
            over_http.measure_http(address, made.checkpoint, trunk, sources)
        if "throughput" in chosen.parts:
            over_http.measure_throughput(address, made.checkpoint, trunk, sources)
        if "servers" in chosen.parts:
            servers.measure_servers(database, made.checkpoint, sources, folder)
        if "kill" in chosen.parts:
            over_http.measure_kill(address, made.checkpoint, sources)
        database.close()


if __name__ == "__main__":
    if TUNING.keys() - os.environ.keys():
        os.environ.update({name: value for name, value in TUNING.items() if name not in os.environ})
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.predict", *sys.argv[1:]])
    main()
