"""Draw synthetic images of letters and shapes, to pretrain the backbone that ships with the demo."""

from __future__ import annotations

import math
import string
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[ImageDraw.ImageDraw, tuple[int, int, int], int, np.random.Generator], None]

SIDE = 64
"""Pixels of a side of an image."""
CANVAS = 96
"""Pixels of a side of the canvas that is drawn on, before it is rotated and distorted."""
MIDDLE, RADIUS = CANVAS / 2, 28.0


def _point(angle: float, radius: float = RADIUS) -> tuple[float, float]:
    return MIDDLE + radius * math.cos(angle), MIDDLE + radius * math.sin(angle)


def _box(radius: float = RADIUS) -> tuple[float, float, float, float]:
    return MIDDLE - radius, MIDDLE - radius, MIDDLE + radius, MIDDLE + radius


def _polygon(corners: int, inner: float = 1.0) -> Draw:
    """Make a drawing of a polygon, or with `inner` below 1 of a star, filled or outlined."""

    def draw(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
        count = corners if inner == 1.0 else 2 * corners
        points = [
            _point(2 * math.pi * step / count - math.pi / 2, RADIUS * (inner if inner < 1.0 and step % 2 else 1.0))
            for step in range(count)
        ]
        if random.random() < 0.5:
            pen.polygon(points, fill=colour)
        else:
            pen.line([*points, points[0], points[1]], fill=colour, width=width, joint="curve")

    return draw


def _curve(point: Callable[[float], tuple[float, float]], steps: int = 60) -> Draw:
    """Make a drawing of the line through point(0) … point(1)."""

    def draw(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
        pen.line([point(step / steps) for step in range(steps + 1)], fill=colour, width=width, joint="curve")

    return draw


def _lines(*ends: tuple[float, float, float, float]) -> Draw:
    """Make a drawing of straight lines; ends are in units of the radius about the middle."""

    def draw(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
        for end in ends:
            pen.line([MIDDLE + RADIUS * value for value in end], fill=colour, width=width)

    return draw


def _ring(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
    pen.ellipse(_box(), outline=colour, width=width)


def _disc(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
    pen.ellipse(_box(), fill=colour)


def _target(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
    for radius in (RADIUS, 0.55 * RADIUS):
        pen.ellipse(_box(radius), outline=colour, width=width)


def _dots(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
    for across in (-1, 0, 1):
        for down in (-1, 0, 1):
            x, y = MIDDLE + 0.7 * RADIUS * across, MIDDLE + 0.7 * RADIUS * down
            pen.ellipse((x - width, y - width, x + width, y + width), fill=colour)


def _letter(letter: str) -> Draw:
    def draw(pen: ImageDraw.ImageDraw, colour: tuple[int, int, int], width: int, random: np.random.Generator) -> None:
        stroke = int(random.integers(0, 4))
        pen.text((MIDDLE, MIDDLE), letter, fill=colour, font=_load_font(), anchor="mm", stroke_width=stroke)

    return draw


@cache
def _load_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(60)


SHAPES: dict[str, Draw] = {
    "ring": _ring,
    "disc": _disc,
    "target": _target,
    "dots": _dots,
    "triangle": _polygon(3),
    "square": _polygon(4),
    "pentagon": _polygon(5),
    "octagon": _polygon(8),
    "star4": _polygon(4, 0.4),
    "star5": _polygon(5, 0.45),
    "star8": _polygon(8, 0.5),
    "plus": _lines((-1, 0, 1, 0), (0, -1, 0, 1)),
    "hash": _lines((-1, -0.4, 1, -0.4), (-1, 0.4, 1, 0.4), (-0.4, -1, -0.4, 1), (0.4, -1, 0.4, 1)),
    "equals": _lines((-1, -0.4, 1, -0.4), (-1, 0.4, 1, 0.4)),
    "arrow": _lines((-1, 0, 1, 0), (1, 0, 0.3, -0.6), (1, 0, 0.3, 0.6)),
    "ladder": _lines((-0.5, -1, -0.5, 1), (0.5, -1, 0.5, 1), (-0.5, -0.5, 0.5, -0.5), (-0.5, 0.4, 0.5, 0.4)),
    "zigzag": _curve(lambda t: (MIDDLE + RADIUS * (2 * t - 1), MIDDLE + RADIUS * (abs(4 * t % 2 - 1) - 0.5)), 8),
    "spiral": _curve(lambda t: _point(5 * math.pi * t, RADIUS * t)),
    "wave": _curve(lambda t: (MIDDLE + RADIUS * (2 * t - 1), MIDDLE + 0.5 * RADIUS * math.sin(4 * math.pi * t))),
    "arc": _curve(lambda t: _point(math.pi * t)),
    "hook": _curve(lambda t: _point(1.5 * math.pi * t)),
    "knot": _curve(lambda t: (_point(2 * math.pi * t)[0], MIDDLE + 0.6 * RADIUS * math.sin(4 * math.pi * t))),
    "loop": _curve(lambda t: (_point(3 * math.pi * t)[0], MIDDLE + RADIUS * (2 * t - 1))),
    "drop": _curve(lambda t: _point(2 * math.pi * t, RADIUS * (0.3 + 0.7 * abs(math.cos(math.pi * t))))),
}
"""Shapes by name; without digits, which the demo itself has to learn."""

LETTERS = string.ascii_uppercase + "abdefghijmnqrty"
"""Letters, without small ones that look like their capitals."""

DRAWINGS: tuple[Draw, ...] = (*map(_letter, LETTERS), *SHAPES.values())
"""All classes: class k is drawn by DRAWINGS[k]."""


def render(label: int, random: np.random.Generator) -> np.ndarray:
    """Render an image of class `label`, uint8 (SIDE, SIDE, 3), with all randomness from `random`."""
    ground, colour = _draw_colours(random)
    canvas = Image.new("RGB", (CANVAS, CANVAS), ground)
    DRAWINGS[label](ImageDraw.Draw(canvas), colour, int(random.integers(3, 10)), random)
    image = _distort(canvas, ground, random)
    if random.random() < 0.5:  # pixelated
        few = int(random.integers(8, 25))
        image = image.resize((few, few), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    elif random.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5)))
    noise = random.normal(0.0, random.uniform(0.0, 12.0), (SIDE, SIDE, 1))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def _draw_colours(random: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Draw colours for background and shape that differ in brightness; half of the pairs are grey."""
    while True:
        both = random.integers(0, 256, (2, 3))
        if random.random() < 0.5:
            both[:] = both[:, :1]
        if abs(both[0].mean() - both[1].mean()) > 70:
            ground, colour = (tuple(int(value) for value in one) for one in both)
            return ground, colour  # type: ignore[return-value]


def _distort(canvas: Image.Image, ground: tuple[int, int, int], random: np.random.Generator) -> Image.Image:
    """Rotate, stretch, shear and shift the canvas, and scale it to SIDE pixels."""
    angle = random.uniform(-0.35, 0.35)
    shear = random.uniform(-0.3, 0.3)
    across, down = CANVAS / SIDE * np.exp(random.uniform(-0.35, 0.35, 2))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = rotation @ np.array([[across, shear], [0.0, down]])
    move = MIDDLE - matrix @ np.full(2, SIDE / 2) + random.uniform(-7, 7, 2)
    affine = (*matrix[0], move[0], *matrix[1], move[1])
    return canvas.transform((SIDE, SIDE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=ground)
