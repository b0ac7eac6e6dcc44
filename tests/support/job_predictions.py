"""A job with predictions for its validation and test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from models.datasets import pack
from models.evaluation.image_predictions import write_predictions
from models.runtime.checkpoint_file import write
from service.checkpoints import blobs, repository
from service.storage import Storage
from tests.support.datasets import add_dataset
from tests.support.jobs import build_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

JOB = "job_1"
VALIDATION, TEST = np.array([1, 4, 7]), np.array([0, 3, 6, 9, 10, 11])
LABELS = np.arange(12) % 2
"""Of the dataset's images: cat, dog, cat, …"""
LOGITS = np.array([[3, 0], [0, 0.5], [0, 2], [0, 1], [-1, 0], [4, 0]], np.float32)
"""Of the test images: cat, dog, cat, dog, cat, dog. The third, the fifth and the last are wrong."""


def add_pack(db: Database, settings: Settings, entries: Sequence[pack.Entry], **columns: Any) -> str:
    """Add a dataset of these images; gives its id."""
    with Storage(settings.storage).writing("index") as file:
        pack.write_index(file, entries)
    return add_dataset(db, pack="pack", index="index", **columns)


def add_images(db: Database, settings: Settings, *, is_multi_label: bool = False) -> str:
    """Add a dataset of twelve images; gives its id."""
    entries = []
    for number in range(12):
        labels = tuple(range(1 + number % 2)) if is_multi_label else (int(LABELS[number]),)
        split = pack.UNLABELLED if number == 2 else ""
        name = f"{11 - number:02}.png"
        entries.append(pack.Entry(bytes([number]) * 32, 0, 5, 80, 90, labels, split, name))
    return add_pack(db, settings, entries)


def add_job(
    db: Database,
    folder: Path,
    dataset: str,
    predictions: bytes | None,
    status: str = "succeeded",
    kind: Literal["best", "improved"] = "best",
    **columns: Any,
) -> str:
    """Add a job; gives the id of its checkpoint, which it has if it has succeeded."""
    with db.writing() as session:
        row = build_job(JOB, status)  # type: ignore[arg-type]
        row.dataset_id = dataset
        for name, value in columns.items():
            setattr(row, name, value)
        session.add(row)
    if status != "succeeded":
        return ""
    write(folder / "a", {"head": torch.ones(3)}, {})
    manifest = blobs.store(db, folder / "a")
    with db.writing() as session:
        return repository.publish(
            session,
            job_id=JOB,
            manifest=manifest,
            kind=kind,
            epoch=1,
            metrics={},
            classes=["cat", "dog"],
            predictions=predictions,
        ).id


def predict(labels: np.ndarray = LABELS) -> bytes:
    """Write predictions for the images of `add_images`."""
    validation = np.zeros((3, 2), np.float32)
    return write_predictions(
        {"validation": (VALIDATION, validation, labels[VALIDATION]), "test": (TEST, LOGITS, labels[TEST])},
        [f"{11 - number:02}.png" for number in range(12)],
    )


CLASSES = [{"name": name, "count": 100} for name in ("cat", "dog", "owl")]
MANY_VALIDATION, MANY_TEST = np.arange(100), np.arange(100, 300)
SIDES = (20, 64, 100, 300, 5000)
ENDINGS = ("png", "JPEG", "jpg", "")


def make_entries(*, is_multi_label: bool = False, has_empty: bool = False) -> list[pack.Entry]:
    """Make 300 images of CLASSES in turns, of many sizes, endings, folders and flags; of several labels, one or two.

    has_empty: every eleventh image has none.
    """
    entries = []
    for number in range(300):
        label, ending = number % 3, ENDINGS[number % 4]
        labels = tuple(sorted({label, number % 2})) if is_multi_label else (label,)
        if has_empty and number % 11 == 0:
            labels = ()
        flags = frozenset({"grayscale"} if number % 10 == 0 else ())
        name = f"{'' if number % 7 else f'shop {number % 5}/'}image{number}{'.' if ending else ''}{ending}"
        digest = number.to_bytes(32, "little")
        width, height = 2 * SIDES[number % 5], SIDES[number % 5] * (1 + number % 4)
        entries.append(pack.Entry(digest, 0, 5, width, height, labels, "", name, flags=flags))
    return entries


def make_logits(targets: np.ndarray) -> np.ndarray:
    """Make logits (300, 3) that are often right, for multi-hot targets (300, 3)."""
    random = np.random.default_rng(0)
    return (random.normal(size=targets.shape) * 2 + 2.5 * targets - 0.5).astype(np.float32)


def add_many(
    db: Database, settings: Settings, folder: Path, *, is_multi_label: bool = False, has_empty: bool = False
) -> np.ndarray:
    """Add a job with predictions for 100 validation and 200 test images; gives the logits of all, (300, 3)."""
    entries = make_entries(is_multi_label=is_multi_label, has_empty=has_empty)
    targets = np.zeros((300, 3), np.float32)
    for number, entry in enumerate(entries):
        targets[number, list(entry.labels)] = 1
    logits = make_logits(targets)
    labels = targets if is_multi_label else targets.argmax(1)
    content = write_predictions(
        {
            name: (images, logits[images], labels[images])
            for name, images in (("validation", MANY_VALIDATION), ("test", MANY_TEST))
        },
        [entry.name for entry in entries],
    )
    add_job(db, folder, add_pack(db, settings, entries, classes=CLASSES), content)
    return logits
