"""Battery of image sets: photographs, digits, and rendered tasks. It was fixed before any method was tried on it.

Sets of photographs are archives of GRAFT_MATERIAL; of more than 1,000 images, 1,000 are drawn.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.quality.tasks import TASKS
from demo import digits

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 1000
"""Images of a set, at most."""
TESTED = 0.4
"""Share of a rendered task's images that is of the test's style, where it has one of its own."""
PHOTOGRAPHS = {
    "flowers": "datasets/flowers5_128px/flowers5_128px.tar",
    "waste": "datasets/trashnet6/trashnet6.zip",
    "blood_cells": "datasets/bloodcells_tiny/bloodcells_tiny.zip",
}
"""Archives in the folder of the material."""
SETS = (*PHOTOGRAPHS, "digits", *TASKS)
"""Names of all sets."""


def find_archive(name: str, folder: Path) -> Path:
    """Find the archive of a set; digits and rendered tasks are written to the folder. Raises SystemExit."""
    if name in PHOTOGRAPHS:
        material = os.environ.get("GRAFT_MATERIAL")
        archive = Path(material or "") / PHOTOGRAPHS[name]
        if not material or not archive.is_file():
            raise SystemExit(f"{PHOTOGRAPHS[name]} is not in GRAFT_MATERIAL; leave {name} out of SETS, or set it.")
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}.tar"
    if name == "digits":
        digits.write_archive(archive)
    else:
        write_task(name, archive)
    return archive


def write_task(name: str, path: Path) -> None:
    """Write a rendered task as a tar of PNGs, a folder for each class; the same pixels each time."""
    with tarfile.open(path, "w") as archive:
        for entry, pixels in render_task(name):
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, "PNG")
            about = tarfile.TarInfo(entry)
            about.size = encoded.tell()
            encoded.seek(0)
            archive.addfile(about, encoded)


def render_task(name: str, images: int = IMAGES) -> Iterator[tuple[str, np.ndarray]]:
    """Render the first images of a task, classes in turns: the name of each file, and its pixels."""
    task = TASKS[name]
    for number in range(images):
        random = np.random.default_rng((zlib.crc32(name.encode()), number))
        label = number % len(task.classes)
        file = f"{task.classes[label]}/{number:04}.png"
        if task.draw_test is None:
            yield file, task.draw(label, random)
        elif number < round(images * (1 - TESTED)):
            yield f"train/{file}", task.draw(label, random)
        else:
            yield f"test/{file}", task.draw_test(label, random)
