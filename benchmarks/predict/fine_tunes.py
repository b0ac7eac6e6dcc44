"""Fine-tunes that predictions are asked of: one job's checkpoint, and others whose heads are its head and noise."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import safe_open

from models.runtime import checkpoint_file
from service.checkpoints import blobs, repository
from service.tables import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client
    from service.database import Database

CLASSES = 10
"""Classes of each of the others."""
NOISE = 0.1
"""Standard deviation of what is added to weights."""


class FineTunes(NamedTuple):
    """The dataset, the job's checkpoint and the others, by their ids."""

    dataset: str
    checkpoint: str
    others: list[str]


def prepare(client: Client, database: Database, folder: Path, dataset: Path, backbone: str, count: int) -> FineTunes:
    """Fine-tune once and add other checkpoints, unless a run before has left them in this folder."""
    file = folder / "fine_tunes.json"
    if file.exists():
        return FineTunes(**json.loads(file.read_text()))
    ready = client.wait_for_dataset(client.create_dataset(dataset)["id"])
    checkpoint, _ = measure_first_answer(client, ready["id"], backbone, None)
    made = FineTunes(ready["id"], checkpoint, add_models(database, checkpoint, count - 1, folder))
    file.write_text(json.dumps(made._asdict()))
    return made


def measure_first_answer(client: Client, dataset: str, backbone: str, image: bytes | None) -> tuple[str, float]:
    """Run a job, and measure the seconds from its end to the first answer of its checkpoint."""
    job = client.create_job(dataset, backbone)["id"]
    while (found := client.job(job))["status"] not in ("succeeded", "failed"):
        time.sleep(0.01)
    began = time.perf_counter()
    checkpoint: str = found["checkpoints"][0]
    if image is not None:
        (answer,) = client.predict([image], [checkpoint])
        assert answer["error"] is None
    return checkpoint, time.perf_counter() - began


def add_models(database: Database, checkpoint: str, count: int, folder: Path) -> list[str]:
    """Store checkpoints of the same trunk with other heads of CLASSES classes, and the statistics of the first."""
    with database.reading() as session:
        row = session.get_one(Checkpoint, checkpoint)
        kept = repository.find_statistics(session, [checkpoint])[checkpoint]
    file = folder / "source.safetensors"
    blobs.copy_to_file(database, row, file)
    with safe_open(file, "pt") as opened:
        metadata, names = dict(opened.metadata()), list(opened.keys())
        tensors = {name: opened.get_tensor(name) for name in names}
    head = [name for name, tensor in tensors.items() if tensor.shape[:1] == (len(row.classes),)][-2:]
    classes = [f"class {number}" for number in range(CLASSES)]
    metadata |= {"num_classes": str(CLASSES), "class_names": json.dumps(classes)}
    rows = torch.arange(CLASSES) % len(row.classes)
    random = torch.Generator().manual_seed(0)
    added: list[str] = []
    for number in range(count):
        changed = {name: _add_noise(tensors[name][rows], random) for name in head}
        path = folder / "changed.safetensors"
        checkpoint_file.write(path, {**tensors, **changed}, {**metadata, "seed": str(number)})
        manifest = blobs.store(database, path)
        with database.writing() as session:
            made = repository.publish(
                session,
                job_id=row.job_id,
                manifest=manifest,
                kind="last",
                epoch=1,
                metrics={},
                classes=classes,
                statistics=kept,
            )
        added.append(made.id)
    return added


def _add_noise(tensor: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return tensor + NOISE * torch.randn(tensor.shape, generator=random)
