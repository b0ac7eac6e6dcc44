"""The files of tests/material/tensorflow, and the outputs of TensorFlow that were stored with them."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "material" / "tensorflow"
SCALES = {"plain": (1 / 127.5, -1.0), "keras2_teachable": (1 / 127.5, -1.0), "module": (1 / 255, 0.0)}
"""Factor and offset of the pixels that a network takes, if it does not take 0 to 255."""


@cache
def load_expected() -> dict[str, np.ndarray]:
    """Load the images (8, 64, 64, 3), uint8, and the outputs (8, 5) by the file's name."""
    with np.load(FOLDER / "expected.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def load_images(name: str) -> torch.Tensor:
    """Load the images (8, 3, 64, 64), as the network of this name takes them."""
    scale, offset = SCALES.get(name.split(".")[0], (1.0, 0.0))
    pixels = load_expected()["images"].astype(np.float32) * np.float32(scale) + np.float32(offset)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def unpack(name: str, folder: Path) -> Path:
    """Unpack a SavedModel; returns its folder."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as archive:
        archive.extractall(folder)
    return next(folder.rglob("saved_model.pb")).parent


def to_scores(outputs: np.ndarray, *, has_softmax: bool) -> np.ndarray:
    """Take logarithms of probabilities; they differ from logits by one number for each image, which is taken out."""
    scores: np.ndarray = np.log(outputs) if has_softmax else outputs
    return scores - scores.mean(1, keepdims=True) if has_softmax else scores
