"""Generated images and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def noise(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    """Make an image of random pixels, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    """Encode an image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def png(seed: int) -> bytes:
    """Make a small PNG file, another for each seed."""
    return encoded(noise(seed))


def coloured(label: int, seed: int, side: int = 32) -> bytes:
    """Make an image that shows its class: its own colour under noise."""
    random = np.random.default_rng((label, seed))
    ground = np.array([[220, 60, 60], [60, 200, 60], [70, 70, 220], [200, 200, 60]])[label]
    pixels = np.clip(random.normal(ground, 60, (side, side, 3)), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels))


def coloured_classes(classes: int, each: int, side: int = 32) -> dict[str, bytes]:
    """Make the files of a small dataset that can be learned: class folders of coloured images."""
    names = ("red", "green", "blue", "yellow")[:classes]
    return {f"{name}/{n:03}.png": coloured(label, n, side) for label, name in enumerate(names) for n in range(each)}


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an ordinary .zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write an ordinary .tar, or with mode w:gz a .tar.gz."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path
