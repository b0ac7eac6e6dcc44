"""Measure a hand-over of a job in mid-epoch by a worker that gets SIGTERM: `python -m faults.handover resnet50`.

The whole network is trained with Adam. GRAFT_SNAPSHOT_SECONDS is so long that the only snapshot is that of the
hand-over.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from safetensors.torch import save_file
from sqlalchemy import select

from graft.client import Client
from service.database import Database
from service.tables import Job, Snapshot
from tests.support import deployments
from tests.support.images import coloured_classes, write_zip

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 64
"""Height and width of an image: steps are short, and the weights are as many as for large images."""
RECIPE = {"cut": "none", "optimizer": "adam", "batch_size": 16, "epochs": 3, "early_stopping": None}
STEP = 4
"""The step of the first epoch at which the worker is stopped, at the earliest."""
POLL_SECONDS = 0.01


def write_backbone(folder: Path, architecture: str) -> None:
    """Write a network of timm's with random weights as a local backbone."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model_args = {"img_size": SIZE} if "vit" in architecture else {}
    network = timm.create_model(architecture, num_classes=10, **model_args)
    names = ("first_conv", "classifier", "interpolation", "mean", "std", "crop_mode")
    pretrained_cfg = {
        **{name: network.pretrained_cfg[name] for name in names},
        "tag": "random",
        "input_size": [3, SIZE, SIZE],
        "fixed_input_size": bool(model_args),
        "crop_pct": 1.0,
        "num_classes": 10,
        "license": "cc0-1.0",
    }
    config = {
        "architecture": architecture,
        "num_classes": 10,
        "model_args": model_args,
        "pretrained_cfg": pretrained_cfg,
    }
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def measure(folder: Path, architecture: str) -> Iterator[str]:
    """Train one job, stop its worker, and report when it was queued and its worker ended."""
    write_backbone(folder / "backbones" / "network", architecture)
    archive = write_zip(folder / "colours.zip", coloured_classes(3, 80))
    env = deployments.environment(folder / "data", folder / "backbones", GRAFT_SNAPSHOT_SECONDS="1e6")
    subprocess.run([deployments.GRAFT, "migrate"], env=env, cwd=deployments.ROOT, check=True)
    with (
        deployments.process(env, "worker") as worker,
        deployments.process(env, "api"),
        Client(deployments.ready(env)) as client,
    ):
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        job = client.create_job(dataset, "local/network", RECIPE)["id"]
        while (seen := client.job(job))["phase"] != "training" or (seen["progress"]["step"] or 0) < STEP:
            assert seen["status"] in ("queued", "running"), seen["error"]
            time.sleep(0.1)
        progress = seen["progress"]
        yield f"stopped after step {progress['step']} of {progress['steps']}, {progress['images_per_second']} images/s"
        began, began_at = time.monotonic(), time.time()
        worker.send_signal(signal.SIGTERM)
        database = Database(f"sqlite:///{folder / 'data' / 'graft.sqlite'}")
        while True:
            with database.reading() as session:
                if session.scalar(select(Job.status)) == "queued":
                    snapshot = session.scalars(select(Snapshot)).one_or_none()
                    break
            time.sleep(POLL_SECONDS)
        yield f"queued after {time.monotonic() - began:.2f} s"
        if snapshot is None:
            yield "without a snapshot: its work is lost"
        else:
            yield f"snapshot of {snapshot.bytes / 1e6:.0f} MB named after {snapshot.created_at - began_at:.2f} s"
        worker.wait()
        yield f"worker ended after {time.monotonic() - began:.2f} s"
        database.close()


def main() -> None:
    """Measure each architecture of the command line."""
    parser = argparse.ArgumentParser(prog="python -m faults.handover", description=__doc__)
    parser.add_argument("architectures", nargs="+", help="names of timm's, such as resnet50")
    for architecture in parser.parse_args().architectures:
        with tempfile.TemporaryDirectory(prefix="graft-handover-") as folder:
            for line in measure(Path(folder), architecture):
                print(f"{architecture}: {line}", flush=True)


if __name__ == "__main__":
    main()
