"""Bytes that fine-tunes of one backbone take in the database: `make stored-bytes BACKBONE=local/NAME FINE_TUNES=1000`.

Each fine-tune has the tensors of a backbone and a linear head with random weights, and is stored as a worker stores
one, with metadata and metrics as long as those of a real job. The whole growth of the database counts: the file of
SQLite after a checkpoint of its log, or the tables of PostgreSQL with their indices (GRAFT_DATABASE_URL names an empty
one). Beside it stands what the numbers alone take: the backbone once, and each head.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from sqlalchemy import func, select, text

import migrations
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, parse_backbone
from models.catalog.recipe import Recipe
from models.evaluation.metrics import evaluate
from models.runtime import checkpoint_file
from service.checkpoints import blobs, repository
from service.database import Database
from service.statuses import DatasetStatus, JobStatus
from service.tables import Dataset, Job

TABLES = ("checkpoints", "checkpoint_tensors", "trunks", "trunk_tensors", "tensors", "chunks")
CLASSES = (5, 10)
TESTED = 150
"""Images of the test, of which the confusion matrix tells."""


def main() -> None:
    """Store the fine-tunes, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="make stored-bytes", description=__doc__)
    parser.add_argument("--backbone", default="local/rendered_shapes", type=parse_backbone)
    parser.add_argument("--fine-tunes", type=int, default=1000)
    chosen = parser.parse_args()
    folder = BACKBONES / chosen.backbone.removeprefix("local/")
    print(f"{describe()}.\n\n| classes | fine-tunes | backbone | heads | stored | of backbone and heads |")
    print("|---|---|---|---|---|---|")
    for classes in CLASSES:
        backbone, heads, stored = measure(folder, classes, chosen.fine_tunes)
        sizes = " | ".join(f"{size / 1e6:,.1f} MB" for size in (backbone, heads, stored))
        print(f"| {classes} | {chosen.fine_tunes:,} | {sizes} | {stored / (backbone + heads):.3f} |", flush=True)


def measure(folder: Path, classes: int, fine_tunes: int) -> tuple[int, int, int]:
    """Measure the bytes of a backbone without its classifier, of the heads, and of the database's growth."""
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    classifier = config["pretrained_cfg"]["classifier"]
    features = tensors.pop(f"{classifier}.weight").shape[1]
    del tensors[f"{classifier}.bias"]
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        url = os.environ.get("GRAFT_DATABASE_URL", f"sqlite:///{name}/graft.sqlite")
        migrations.upgrade(url)
        database = Database(url)
        job = add_job(database)
        before = count_bytes(database)
        for number in range(fine_tunes):
            head = torch.randn(classes, features), torch.randn(classes)
            own = {f"{classifier}.weight": head[0], f"{classifier}.bias": head[1]}
            metadata, metrics = describe_job(config, classes, sorted(own), number)
            checkpoint_file.write(Path(name) / "best.safetensors", {**tensors, **own}, metadata)
            manifest = blobs.store(database, Path(name) / "best.safetensors")
            with database.writing() as session:
                names = [f"class number {number}" for number in range(classes)]
                repository.publish(
                    session, job_id=job, manifest=manifest, kind="best", epoch=1, metrics=metrics, classes=names
                )
        stored = count_bytes(database) - before
        database.close()
    return sum(tensor.nbytes for tensor in tensors.values()), fine_tunes * classes * 4 * (features + 1), stored


def describe_job(
    config: dict[str, Any], classes: int, own: list[str], seed: int
) -> tuple[dict[str, str], dict[str, Any]]:
    """Describe a fine-tuning as a job does: the metadata of its file, and the metrics of its row."""
    random, names = np.random.default_rng(seed), [f"class number {number}" for number in range(classes)]
    counts = dict.fromkeys(names, 100)
    recipe = Recipe().resolve(
        task="single_label", image_size=224, num_features=1280, class_counts=counts, images=100 * classes
    )
    labels = np.arange(TESTED) % classes
    logits = [random.standard_normal((TESTED, classes)) + 2 * np.eye(classes)[labels] for _ in range(2)]
    validation, test = (evaluate(of_split, labels, names) for of_split in logits)
    metrics = {"validation": validation, "test": test}
    metadata = checkpoint_file.collect_metadata(
        **{name: config[name] for name in ("architecture", "model_args") if name in config},
        num_classes=classes,
        class_names=names,
        task="single_label",
        pretrained_cfg={**config["pretrained_cfg"], "label_names": names},
        decoding={"version": 3, "depth": None},
        recipe=recipe.model_dump(mode="json"),
        metrics={**metrics, "best_epoch": 7, "baselines": {"constant": 0.1, "lda": 0.9}},
        temperature=random.random(),
        dataset_digest=f"sha256:{random.bytes(32).hex()}",
        counts={"train": 700, "validation": TESTED, "test": TESTED},
        backbone="local/backbone",
        backbone_digest=f"sha256:{'0' * 64}",
        job=f"job_{seed:026}",
        trained_tensors=own,
        seed=0,
        device="cpu",
    )
    return metadata, metrics


def add_job(database: Database) -> str:
    """Add the job whose checkpoints they are."""
    with database.writing() as session:
        session.add(Dataset(id="ds_1", name="", status=DatasetStatus.READY))
        session.flush()
        recipe = Recipe().model_dump(mode="json")
        session.add(Job(id="job_1", dataset_id="ds_1", backbone="b", recipe=recipe, status=JobStatus.RUNNING))
    return "job_1"


def count_bytes(database: Database) -> int:
    """Count the bytes of the file of SQLite, or of the tables of checkpoints with their indices on PostgreSQL."""
    with database.engine.connect() as connection:
        if database.engine.dialect.name == "postgresql":
            sizes = (connection.scalar(select(func.pg_total_relation_size(table))) for table in TABLES)
            return sum(size or 0 for size in sizes)
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")))


if __name__ == "__main__":
    main()
