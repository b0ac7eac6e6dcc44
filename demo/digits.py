"""Write scikit-learn's handwritten digits as an archive of PNGs: `python -m demo.digits digits.tar`."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_archive(path: Path) -> None:
    """Write a tar of 1,797 digits of 8 x 8 pixels, a folder for each class; the same bytes each time."""
    digits = load_digits()
    # From 17 grey levels, white on black, to 256, black on white.
    images = 255 - np.round(digits.images * (255 / 16)).astype(np.uint8)
    with tarfile.open(path, "w") as archive:
        for number, (image, digit) in enumerate(zip(images, digits.target, strict=True)):
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "PNG")
            entry = tarfile.TarInfo(f"{digit}/{number:04}.png")
            entry.size = encoded.tell()
            encoded.seek(0)
            archive.addfile(entry, encoded)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))
