"""Canvas for rendered images: grounds, colours that stand out, polygons, textures, and noise at the end.

Lengths are pixels of the finished image. All randomness comes from the generator that is given, so the same generator
draws the same image to the pixel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Points = Sequence[tuple[float, float]]
    Colour = tuple[int, int, int]

SIDE = 96
"""Pixels of a side."""
MARGIN = 8
"""Pixels at each side without content, so that a centre crop of 7/8 loses none."""
SCALE = 3
"""Pixels drawn in each direction for one of the finished image."""
CONTRAST = 60
"""Least difference of mean brightness between a colour and the ground, of 255."""


class Canvas:
    """An image that is drawn, on a ground of a random kind."""

    def __init__(self, random: np.random.Generator, grounds: Sequence[str] = ("flat", "gradient", "clouds")) -> None:
        self.random = random
        self.level = random.uniform(45, 210)
        tint = _tint(random, self.level)
        name = grounds[int(random.integers(len(grounds)))]
        ground = np.clip(tint + 22 * _GROUNDS[name](random)[..., None], 0, 255).astype(np.uint8)
        self.image = Image.fromarray(ground).resize((SIDE * SCALE, SIDE * SCALE), Image.Resampling.BICUBIC)

    def draw_colours(self, count: int) -> list[Colour]:
        """Draw colours, two at most, whose brightness stands out from the ground's and from each other's."""
        while True:
            levels = self.random.uniform(10, 245, count)
            gaps = np.diff(np.sort([self.level, *levels.tolist()]))
            if (gaps >= CONTRAST).all():
                break
        tinted = [np.clip(_tint(self.random, level), 0, 255).astype(int).tolist() for level in levels.tolist()]
        return [(red, green, blue) for red, green, blue in tinted]

    def draw_colour(self) -> Colour:
        """Draw one colour that stands out from the ground."""
        return self.draw_colours(1)[0]

    def fill(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        ImageDraw.Draw(self.image).polygon([(x * SCALE, y * SCALE) for x, y in points], fill=colour)

    def outline(self, points: Points, colour: Colour, width: float) -> None:
        """Draw the closed line of a polygon."""
        scaled = [(x * SCALE, y * SCALE) for x, y in [*points, points[0], points[1]]]
        ImageDraw.Draw(self.image).line(scaled, fill=colour, width=max(1, round(width * SCALE)), joint="curve")

    def draw_line(self, points: Points, colour: Colour, width: float) -> None:
        """Draw an open line."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        ImageDraw.Draw(self.image).line(scaled, fill=colour, width=max(1, round(width * SCALE)), joint="curve")

    def fill_textured(self, points: Points, texture: str, first: Colour, second: Colour) -> None:
        """Fill a polygon with a texture of two colours, at a random angle, period and phase."""
        is_first = make_texture(texture, self.random)
        filling = np.where(is_first[..., None], np.array(first, np.uint8), np.array(second, np.uint8))
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon([(x * SCALE, y * SCALE) for x, y in points], fill=255)
        self.image.paste(Image.fromarray(filling), (0, 0), mask)

    def finish(self, noise: float = 8.0) -> np.ndarray:
        """Reduce to the finished size and add noise up to this deviation: uint8 (SIDE, SIDE, 3)."""
        small = np.asarray(self.image.reduce(SCALE), np.float64)
        small += self.random.normal(0.0, self.random.uniform(0.0, noise), (SIDE, SIDE, 1))
        return np.clip(np.round(small), 0, 255).astype(np.uint8)


def _tint(random: np.random.Generator, level: float) -> np.ndarray:
    """Draw a colour of this mean brightness: in half of the cases grey."""
    if random.random() < 0.5:
        return np.full(3, level)
    offsets = random.uniform(-45, 45, 3)
    return np.asarray(level + offsets - offsets.mean())


def _flat(random: np.random.Generator) -> np.ndarray:
    return np.zeros((SIDE, SIDE))


def _gradient(random: np.random.Generator) -> np.ndarray:
    angle = random.uniform(0, 2 * math.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    return np.asarray(math.cos(angle) * x + math.sin(angle) * y)


def _clouds(random: np.random.Generator) -> np.ndarray:
    few = int(random.integers(4, 10))
    coarse = Image.fromarray(random.uniform(0, 255, (few, few)).astype(np.uint8))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64) / 127.5 - 1


_GROUNDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "flat": _flat,
    "gradient": _gradient,
    "clouds": _clouds,
}


def make_texture(name: str, random: np.random.Generator) -> np.ndarray:
    """Make a texture of the whole canvas: where it has its first colour, bool (SIDE·SCALE, SIDE·SCALE)."""
    angle, period = random.uniform(0, 2 * math.pi), random.uniform(6, 11) * SCALE
    x, y = np.meshgrid(np.arange(SIDE * SCALE, dtype=float), np.arange(SIDE * SCALE, dtype=float))
    shift_x, shift_y = random.uniform(0, period, 2)
    u = (math.cos(angle) * x + math.sin(angle) * y + shift_x) / period
    v = (math.cos(angle) * y - math.sin(angle) * x + shift_y) / period
    duty = random.uniform(0.4, 0.6)
    return TEXTURES[name](u, v, duty, random)


def _stripes(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray(u % 1 < duty)


def _checks(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray((u % 1 < 0.5) ^ (v % 1 < 0.5))


def _dots(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray(np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.75 * duty)


def _rings(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    middle_u, middle_v = (random.uniform(np.quantile(axis, 0.4), np.quantile(axis, 0.6)) for axis in (u, v))
    return np.asarray(np.hypot(u - middle_u, v - middle_v) % 1 < duty)


def _waves(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray((u + 0.35 * np.sin(2 * math.pi * v / 2)) % 1 < duty)


def _grain(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    cells = random.random((128, 128)) < duty
    places = (np.floor(2 * axis).astype(int) % 128 for axis in (u, v))
    return np.asarray(cells[tuple(places)])


def _bricks(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    row = np.floor(v)
    return np.asarray((v % 1 > 0.25) & ((u / 2 + row / 2) % 1 > 0.15))


def _grid(u: np.ndarray, v: np.ndarray, duty: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray((u % 1 < 0.3) | (v % 1 < 0.3))


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "rings": _rings,
    "waves": _waves,
    "grain": _grain,
    "bricks": _bricks,
    "grid": _grid,
}
"""Textures by name: from coordinates in periods and the share of the first colour."""
