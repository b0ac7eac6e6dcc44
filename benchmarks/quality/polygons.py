"""Polygons of rendered images: shapes in units of their radius, placed, turned and stretched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.quality.canvas import MARGIN, SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Points = list[tuple[float, float]]

Circle = tuple[float, float, float]
"""Place of an object: x, y, radius."""


def _regular(corners: int, inner: float = 1.0) -> Points:
    count = corners if inner == 1.0 else 2 * corners
    radii = [inner if inner < 1.0 and step % 2 else 1.0 for step in range(count)]
    return [_rotate((radius, 0.0), 2 * math.pi * step / count) for step, radius in enumerate(radii)]


def _rotate(point: tuple[float, float], angle: float) -> tuple[float, float]:
    x, y = point
    return math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y


def _arc(first: float, last: float, radius: float = 1.0, x: float = 0.0) -> Points:
    steps = [first + (last - first) * step / 32 for step in range(33)]
    return [(x + radius * math.cos(angle), radius * math.sin(angle)) for angle in steps]


_ARM = 0.36
DISC = _regular(48)
SQUARE = _regular(4)
TRIANGLE = _regular(3)
STAR = _regular(5, 0.42)
PLUS: Points = [
    corner
    for quarter in range(4)
    for corner in (
        _rotate((0.94, -_ARM), quarter * math.pi / 2),
        _rotate((0.94, _ARM), quarter * math.pi / 2),
        _rotate((_ARM, _ARM), quarter * math.pi / 2),
    )
]
BAR: Points = [(0.94, -0.34), (0.94, 0.34), (-0.94, 0.34), (-0.94, -0.34)]
HALF = _arc(0.0, math.pi)
CRESCENT = _arc(math.pi / 3, 5 * math.pi / 3) + _arc(1.75 * math.pi, 0.25 * math.pi, 0.85, 0.5)[2:-2]
NEEDLE: Points = [(1.0, 0.0), (-0.8, 0.5), (-0.8, -0.5)]
ARROW: Points = [(1.0, 0.0), (0.2, 0.6), (0.2, 0.2), (-0.9, 0.2), (-0.9, -0.2), (0.2, -0.2), (0.2, -0.6)]
DROP: Points = [(1.0, 0.0), *((0.55 * x - 0.35, 0.55 * y) for x, y in _arc(math.pi / 3, 5 * math.pi / 3))]

SHAPES: dict[str, Points] = {
    "disc": DISC,
    "square": SQUARE,
    "triangle": TRIANGLE,
    "star": STAR,
    "plus": PLUS,
    "bar": BAR,
    "half": HALF,
    "crescent": CRESCENT,
}
"""Shapes that differ from each other however they are turned."""
POINTERS: dict[str, Points] = {"needle": NEEDLE, "arrow": ARROW, "drop": DROP}
"""Shapes that point along the x axis."""


def place(shape: Sequence[tuple[float, float]], at: Circle, angle: float = 0.0, thin: float = 1.0) -> Points:
    """Place a shape: of this radius, its y axis scaled by `thin`, turned by an angle in radians."""
    x, y, radius = at
    turned = [_rotate((radius * px, radius * thin * py), angle) for px, py in shape]
    return [(x + px, y + py) for px, py in turned]


def find_room(random: np.random.Generator, radius: float, others: Sequence[Circle], gap: float = 3.0) -> Circle | None:
    """Find a random place inside the margins that keeps a gap to others; None if 200 trials find none."""
    for _ in range(200):
        x, y = random.uniform(MARGIN + radius, SIDE - MARGIN - radius, 2).tolist()
        if all(math.hypot(x - other[0], y - other[1]) >= radius + other[2] + gap for other in others):
            return x, y, radius
    return None


def scatter(random: np.random.Generator, radii: Sequence[float], others: Sequence[Circle] = ()) -> list[Circle]:
    """Scatter circles of these radii, apart from each other and from others; smaller where there is no room."""
    scale = 1.0
    while True:
        placed: list[Circle] = []
        for radius in radii:
            found = find_room(random, radius * scale, [*others, *placed])
            if found is None:
                break
            placed.append(found)
        if len(placed) == len(radii):
            return placed
        scale *= 0.9
