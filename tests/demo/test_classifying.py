"""Tests of the demo's predictions: it shows only images that Graft accepts."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from demo.classifying import sample_images
from tests.support.images import encoded, noise, png, write_tar, write_zip

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {f"photos/cat/{number}": png(number) for number in range(3)}
OTHERS = {
    "photos/cat/cut.png": png(4)[:200],
    "photos/cat/none.jpg": b"",
    "photos/cat/.hidden.png": png(5),
    "__MACOSX/photos/cat/._1.png": b"\0\5\x16\7",
    "photos/readme.md": b"hello",
}


def write_dataset(folder: Path, kind: str, files: dict[str, bytes]) -> Path:
    """Write a dataset of these files."""
    if kind == "zip":
        path = write_zip(folder / "a.zip", files)
        with zipfile.ZipFile(path, "a") as archive:
            archive.mkdir("photos/empty")
        return path
    if kind == "tar":
        return write_tar(folder / "a.tar.gz", files, "w:gz")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_files_that_are_not_images_are_skipped(tmp_path: Path, kind: str) -> None:
    dataset = write_dataset(tmp_path, kind, IMAGES | OTHERS)
    found = dict(sample_images(dataset, {}, 10))
    assert found.keys() == IMAGES.keys()
    for name, image in found.items():
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(IMAGES[name]))))
    assert list(dict(sample_images(dataset, {}, 2))) == list(found)[:2], "always the same"


def test_images_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = write_zip(tmp_path / "a.zip", {"cat/1.png": encoded(noise(1, 30, 20), exif=exif)})
    ((_, image),) = sample_images(dataset, {}, 1)
    assert (image.size, image.mode) == ((20, 30), "RGB")
