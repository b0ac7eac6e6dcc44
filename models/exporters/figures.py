"""Figures of a bundle as images: confusion matrix and reliability diagram, drawn by Pillow alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from models.evaluation.metrics import compute_log_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

MARGIN, SIDE = 140, 480
BINS = 10
MOST_NAMED = 40
"""Most classes whose names and counts are written."""


def draw_confusion_matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Image.Image:
    """Draw a confusion matrix: rows are the labels' classes, columns the predicted ones, dark is many of a row."""
    counts = np.array(confusion, float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = max(4, min(60, SIDE // len(classes)))
    image = Image.new("RGB", (MARGIN + cell * len(classes) + 20, MARGIN + cell * len(classes) + 20), "white")
    draw = ImageDraw.Draw(image)
    draw.text((10, 10), "rows: label, columns: predicted", fill="black")
    for row, column in np.ndindex(*counts.shape):
        shade = int(255 * (1 - shares[row, column]))
        x, y = MARGIN + column * cell, MARGIN + row * cell
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=(shade, shade, 255), outline="lightgrey")
        if len(classes) <= MOST_NAMED and counts[row, column]:
            draw.text((x + 3, y + 3), f"{counts[row, column]:.0f}", fill="black" if shade > 127 else "white")
    for place, name in enumerate(classes if len(classes) <= MOST_NAMED else ()):
        draw.text((5, MARGIN + place * cell + cell // 3), _shorten(name), fill="black")
        draw.text((MARGIN + place * cell, MARGIN - 15 - 12 * (place % 8)), _shorten(name, cell // 6 + 6), fill="black")
    return image


def draw_reliability(logits: np.ndarray, labels: np.ndarray) -> Image.Image:
    """Draw the accuracy of predictions by their confidence, in ten bins; calibrated ones lie on the diagonal."""
    confidence, is_right = _measure(logits, labels)
    size = SIDE + 2 * 40
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 40, 40 + SIDE, 40 + SIDE), outline="black")
    draw.text((44, 10), "accuracy (up) by confidence (right)", fill="black")
    width = SIDE // BINS
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for place in range(BINS):
        members = places == place
        if members.any():
            top = 40 + SIDE - int(SIDE * is_right[members].mean())
            draw.rectangle((40 + place * width, top, 40 + (place + 1) * width - 2, 40 + SIDE), fill="steelblue")
            draw.text((44 + place * width, 44 + SIDE), str(int(members.sum())), fill="black")
    draw.line((40, 40 + SIDE, 40 + SIDE, 40), fill="red")
    return image


def _measure(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the confidence of each prediction, and whether it is right."""
    probabilities = np.exp(compute_log_probabilities(logits))
    return probabilities.max(1), probabilities.argmax(1) == labels


def _shorten(name: str, most: int = 20) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
