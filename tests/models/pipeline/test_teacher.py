"""Fine-tunings that distil a checkpoint: its classes, its logits through the cache, and bytes after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from models import backbones
from models.backbones.errors import WeightsUnavailable
from models.backbones.pretrained_classifier import ClassesDiffer
from models.features.cache import FeatureCache
from models.features.rendering import render_images
from models.images.views import Views
from models.messages import ProgressSaved
from models.pipeline.fine_tune import fine_tune
from models.pipeline.teacher import Teacher
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.small_job import CLASSES, Job, cut_off, last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADS: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"head": {"kind": "mlp", "hidden": [9], "normalization": "batch_norm", "activation": "gelu"}},
    "cosine": {"head": "cosine"},
    "unfrozen": {"cut": "top", "epochs": 2},
}
TAUGHT: dict[str, Any] = {
    "distillation": {"teacher": "ckpt_1", "weight": 0.7},
    "epochs": 4,
    "early_stopping": None,
    "optimizer": {"kind": "adam", "lr": 0.01},
}


def write_teacher(folder: Path, **choices: Any) -> Path:
    """Train a teacher, and put its file into a folder of its own, as a worker does; gives that folder."""
    job = small_job(folder, "teacher", **{"epochs": 3, **choices})
    list(fine_tune(*job))
    (folder / "attempt").mkdir()
    (folder / "attempt" / "model.safetensors").write_bytes(job.checkpoint.read_bytes())
    return folder / "attempt"


def load(folder: Path, attempt: Path, classes: Sequence[str] = CLASSES) -> Teacher:
    """Load the teacher with the images of the small job."""
    cache, pack = FeatureCache(folder / "teachers"), small_pack(folder, classes=3, each=30)
    return Teacher.load("ckpt_1", attempt, classes, pack, torch.device("cpu"), cache, no_heartbeat)


def taught(folder: Path, attempt: Path, name: str = "student", **choices: Any) -> Job:
    """A fine-tuning that distils the teacher."""
    return small_job(folder, name, **{**TAUGHT, **choices}).change(teacher_folder=attempt)


@pytest.mark.parametrize("head", HEADS)
def test_the_logits_are_those_of_the_checkpoint_in_the_order_of_the_datasets_classes(head: str, tmp_path: Path) -> None:
    attempt = write_teacher(tmp_path, **HEADS[head])
    teacher = load(tmp_path, attempt, ["red", "blue", "green"])
    images = np.array([70, 3, 41, 3])
    logits = teacher.compute_logits(images)
    loaded = backbones.load("ckpt_1", None, None, attempt)
    views, pack = Views(loaded.preprocessing, ()), small_pack(tmp_path, classes=3, each=30)
    _, pixels = next(render_images(pack, views, images, 0, 4, no_heartbeat))
    normalized = (torch.from_numpy(pixels) / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = loaded.network(normalized)[:, [CLASSES.index(name) for name in ("red", "blue", "green")]]
    torch.testing.assert_close(logits, expected, rtol=2e-3, atol=2e-3)  # the cache keeps half precision


def test_a_teacher_of_other_classes_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    attempt = write_teacher(tmp_path)
    with pytest.raises(ClassesDiffer, match=r"ckpt_1 .* lacks violet, and has red that"):
        load(tmp_path, attempt, ["blue", "green", "violet"])
    with pytest.raises(ClassesDiffer, match="lacks none, and has blue, red that"):
        load(tmp_path, attempt, ["green"])


def test_a_teacher_whose_file_is_missing_ends_the_job_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "attempt").mkdir()
    with pytest.raises(WeightsUnavailable, match="ckpt_1"):
        load(tmp_path, tmp_path / "attempt")


def test_its_logits_are_computed_once_for_all_jobs(tmp_path: Path) -> None:
    attempt = write_teacher(tmp_path)
    first = last(list(fine_tune(*taught(tmp_path, attempt, "first"))))
    second = last(list(fine_tune(*taught(tmp_path, attempt, "second"))))
    assert first.cache["misses"] > 0
    assert second.cache["misses"] == 0
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_a_student_learns_what_its_teacher_says(tmp_path: Path) -> None:
    """At weight one, of a teacher that has the classes' names in another order, it learns those."""
    attempt = write_teacher(tmp_path)
    job = taught(tmp_path, attempt, epochs=20, distillation={"teacher": "ckpt_1", "weight": 1.0, "temperature": 1.0})
    ended = last(list(fine_tune(*job)))
    assert ended.metrics["test"]["accuracy"] > 0.9
    plain = last(list(fine_tune(*taught(tmp_path, attempt, "plain", epochs=20, distillation=None))))
    assert ended.metrics != plain.metrics


@pytest.mark.parametrize(
    "choices",
    [
        {"augmentations": ["mixup"], "sharpness": "sam"},
        {"cut": {"kind": "top", "probe": True}, "batch_size": 16, "epochs": 2},
        {"cache": "off", "epochs": 2},
    ],
    ids=["head", "stages", "uncached"],
)
def test_whoever_resumes_it_ends_with_the_same_bytes(tmp_path: Path, choices: dict[str, Any]) -> None:
    attempt = write_teacher(tmp_path)
    job = taught(tmp_path, attempt, **choices)
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    snapshots = sum(isinstance(event, ProgressSaved) and bool(event.snapshot) for event in whole)
    _, rest = cut_off(job, snapshots // 2)
    after = list(fine_tune(*rest))
    assert job.checkpoint.read_bytes() == expected
    assert last(after).metrics == last(whole).metrics


def test_of_several_labels_each_is_distilled_by_itself(tmp_path: Path) -> None:
    for folder in ("pairs", "attempt"):
        (tmp_path / folder).mkdir()
    pack = small_pack(tmp_path / "pairs", classes=3, each=20, pairs=10)
    job = small_job(tmp_path, "teacher", epochs=3)._replace(pack=pack)
    list(fine_tune(*job))
    (tmp_path / "attempt" / "model.safetensors").write_bytes(job.checkpoint.read_bytes())
    student = taught(tmp_path, tmp_path / "attempt", epochs=20)._replace(pack=pack)
    ended = last(list(fine_tune(*student)))
    assert ended.metrics["test"]["map"] > 0.9
    assert ended.metrics["test"]["loss"] < 0.69, "better than even odds for each label"
