"""The battery: the same images each time, as many of each class, and none that small pixels give away."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.floor import pack_dataset
from benchmarks.quality.battery import IMAGES, PHOTOGRAPHS, SETS, find_archive, render_task
from benchmarks.quality.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

DIGESTS = {
    "counting": "3c63511e8874a9c2",
    "orientation": "47d9eed72bd55224",
    "direction": "d059fc85b395b155",
    "distance": "e6e2b5014bdc4606",
    "depth": "4c589a8f64dc7e99",
    "position": "b828a66f2142c8b8",
    "texture": "f41d019073be5f42",
    "shape": "65663f2d364cde80",
    "domain_shift": "7ca1a9d7668ab751",
}
"""Of the pixels of each task's first 16 images. A changed one means other figures than those that were published."""


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_the_same_to_the_pixel(name: str) -> None:
    pixels = b"".join(image.tobytes() for _, image in render_task(name, 16))
    assert hashlib.sha256(pixels).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", TASKS)
def test_an_image_is_drawn_by_its_own_number_alone(name: str) -> None:
    of_few, of_more = (dict(render_task(name, images)) for images in (20, 40))
    shared = set(of_few) & set(of_more)
    assert len(shared) >= 12
    assert all((of_few[file] == of_more[file]).all() for file in shared)


def test_there_are_ten_sets_and_more() -> None:
    assert len(set(SETS)) == len(SETS) == 13
    assert {len(task.classes) for task in TASKS.values()} == {6, 8, 16}


def test_a_task_is_packed_as_any_dataset(tmp_path: Path) -> None:
    pack, classes = pack_dataset(tmp_path, find_archive("distance", tmp_path / "sets"))
    assert classes == list(TASKS["distance"].classes)
    assert len(pack) == IMAGES
    assert set(np.bincount(pack.labels).tolist()) == {166, 167}


def test_a_shifted_task_gives_its_own_test_images(tmp_path: Path) -> None:
    with tarfile.open(find_archive("domain_shift", tmp_path)) as archive:
        found = Counter(tuple(name.split("/")[:2]) for name in archive.getnames())
    assert found == {
        (part, name): count for part, count in (("train", 75), ("test", 50)) for name in TASKS["shape"].classes
    }


def test_photographs_without_material_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAFT_MATERIAL", raising=False)
    with pytest.raises(SystemExit, match="leave flowers out of SETS"):
        find_archive("flowers", tmp_path)
    monkeypatch.setenv("GRAFT_MATERIAL", str(tmp_path))
    with pytest.raises(SystemExit, match=PHOTOGRAPHS["waste"]):
        find_archive("waste", tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_grey_thumbnails_do_not_give_the_classes_away(name: str) -> None:
    """Logistic regression on 8 x 8 grey pixels is far from what an eye does, which misses next to none."""
    images = [Image.fromarray(pixels).convert("L") for _, pixels in render_task(name, 320)]
    labels = np.arange(320) % len(TASKS[name].classes)
    thumbnails = np.stack([np.asarray(image.reduce(12), float).ravel() for image in images])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(thumbnails[:200], labels[:200])
    assert probe.score(thumbnails[200:], labels[200:]) < 0.4
