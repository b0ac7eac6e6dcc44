"""Structured tasks that are rendered: counting, orientation, distance, position, texture against shape, domain shift.

Each is a function that draws an image of a class. Whatever is not the class is drawn at random: ground, colours, sizes,
places, kinds of objects and distractors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from benchmarks.quality.canvas import MARGIN, SIDE, TEXTURES, Canvas
from benchmarks.quality.polygons import DISC, POINTERS, SHAPES, SQUARE, STAR, TRIANGLE, find_room, place, scatter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.quality.polygons import Circle, Points

    Draw = Callable[[int, np.random.Generator], np.ndarray]

Choice = TypeVar("Choice")

INSIDE = 0.35
"""Largest distance of a value from the middle of its class, in widths of the class: no value lies between two."""
FULL_TURN = 2 * math.pi


@dataclass(frozen=True)
class Task:
    """A rendered task."""

    classes: tuple[str, ...]
    draw: Draw
    """Draws an image of a class by its number, uint8 (SIDE, SIDE, 3)."""
    draw_test: Draw | None = None
    """Draws the test images, where they are of another style."""


def draw_counting(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw label + 1 objects of mixed shapes, sizes and colours."""
    canvas = Canvas(random)
    for at in scatter(random, random.uniform(4, 10, label + 1).tolist()):
        canvas.fill(_turn_at_random(_choose(random, list(SHAPES.values())), at, random), canvas.draw_colour())
    return canvas.finish()


def draw_orientation(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw a bar, an ellipse or a row of dots in one of 8 orientations; 180 degrees are the same."""
    canvas = Canvas(random)
    angle = math.pi / 8 * (label + random.uniform(-INSIDE, INSIDE))
    length, thin = random.uniform(15, 30), random.uniform(0.12, 0.25)
    at = find_room(random, length, ())
    assert at
    _add_distractors(canvas, (), int(random.integers(0, 4)))
    colour = canvas.draw_colour()
    match int(random.integers(3)):
        case 0:
            canvas.fill(place([(1, -1), (1, 1), (-1, 1), (-1, -1)], at, angle, thin), colour)
        case 1:
            canvas.fill(place(DISC, at, angle, thin), colour)
        case _:
            for step in np.linspace(-1, 1, int(random.integers(4, 7))).tolist():
                x, y = place([(step * 0.9, 0.0)], at, angle)[0]
                canvas.fill(place(DISC, (x, y, length * thin * 0.7)), colour)
    return canvas.finish()


def draw_direction(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw a needle, an arrow or a drop that points in one of 16 directions."""
    canvas = Canvas(random)
    angle = FULL_TURN / 16 * (label + random.uniform(-INSIDE, INSIDE))
    at = find_room(random, random.uniform(13, 26), ())
    assert at
    _add_distractors(canvas, (), int(random.integers(0, 4)))
    canvas.fill(place(_choose(random, list(POINTERS.values())), at, angle), canvas.draw_colour())
    return canvas.finish()


def draw_distance(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw two discs whose middles are 16, 24 … 56 pixels apart, by class, among squares and triangles."""
    canvas = Canvas(random)
    distance = 16 + 8 * (label + random.uniform(-INSIDE, INSIDE))
    radii = random.uniform(3, 6.5, 2)
    low, high = MARGIN + radii, SIDE - MARGIN - radii
    while True:
        angle, first = random.uniform(0, FULL_TURN), random.uniform(low[0], high[0], 2)
        second = first + distance * np.array([math.cos(angle), math.sin(angle)])
        if (second > low[1]).all() and (second < high[1]).all():
            break
    discs: list[Circle] = [(*end.tolist(), radius) for end, radius in zip((first, second), radii.tolist(), strict=True)]
    _add_distractors(canvas, discs, int(random.integers(0, 4)), (SQUARE, TRIANGLE))
    colour = canvas.draw_colour()
    for at in discs:
        canvas.fill(place(DISC, at), colour)
    return canvas.finish()


def draw_depth(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw an object that stands on a plain, far (0) to near (5): its foot tells, relative to the horizon.

    Horizon and the object's own height vary, so neither its size nor its place in the image tells alone.
    """
    canvas = Canvas(random)
    horizon = random.uniform(22, 38)
    below = 9 * (46 / 9) ** ((label + 0.5 + random.uniform(-INSIDE, INSIDE)) / 6)
    plain, colour = canvas.draw_colours(2)
    canvas.fill([(0, horizon), (SIDE, horizon), (SIDE, SIDE), (0, SIDE)], plain)
    vanishing = random.uniform(0, SIDE)
    for end in random.uniform(-SIDE, 2 * SIDE, int(random.integers(0, 5))).tolist():
        canvas.draw_line([(vanishing, horizon), (end, SIDE)], canvas.draw_colour(), 1)
    height = min(below * random.uniform(0.5, 1.1), horizon + below - MARGIN)
    foot = horizon + below
    half = height * random.uniform(0.15, 0.4)
    x = random.uniform(MARGIN + height / 2, SIDE - MARGIN - height / 2)
    outlines: list[Points] = [
        [(x - half, foot), (x - half, foot - height), (x + half, foot - height), (x + half, foot)],
        [(x - half, foot), (x, foot - height), (x + half, foot)],
        place(DISC, (x, foot - height / 2, height / 2), 0.0, 1.0),
    ]
    canvas.fill(outlines[int(random.integers(len(outlines)))], colour)
    return canvas.finish()


def draw_position(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw a small star in one of 4 x 4 cells, row by row, among discs and squares."""
    canvas = Canvas(random)
    cell = (SIDE - 2 * MARGIN) / 4
    offsets = random.uniform(-INSIDE, INSIDE, 2)
    radius = random.uniform(5, 8)
    middle = MARGIN + cell * (np.array([label % 4, label // 4]) + 0.5 + offsets)
    x, y = np.clip(middle, MARGIN + radius / 2, SIDE - MARGIN - radius / 2).tolist()
    _add_distractors(canvas, [(x, y, radius)], int(random.integers(2, 6)), (DISC, SQUARE))
    canvas.fill(_turn_at_random(STAR, (x, y, radius), random), canvas.draw_colour())
    return canvas.finish()


def draw_texture(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw any shape, filled with the texture of the class."""
    canvas = Canvas(random)
    at = find_room(random, random.uniform(22, 34), ())
    assert at
    shape = _choose(random, list(SHAPES.values()))
    canvas.fill_textured(_turn_at_random(shape, at, random), list(TEXTURES)[label], *canvas.draw_colours(2))
    return canvas.finish()


def draw_shape(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw the shape of the class, filled with any texture or, one time in nine, with none."""
    canvas = Canvas(random)
    at = find_room(random, random.uniform(18, 32), ())
    assert at
    points = _turn_at_random(list(SHAPES.values())[label], at, random)
    texture = int(random.integers(len(TEXTURES) + 1))
    if texture < len(TEXTURES):
        canvas.fill_textured(points, list(TEXTURES)[texture], *canvas.draw_colours(2))
    else:
        canvas.fill(points, canvas.draw_colour())
    return canvas.finish()


def draw_clean(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw the shape of the class in one colour on a quiet ground."""
    canvas = Canvas(random, ("flat", "gradient"))
    at = find_room(random, random.uniform(18, 32), ())
    assert at
    canvas.fill(_turn_at_random(list(SHAPES.values())[label], at, random), canvas.draw_colour())
    return canvas.finish(4.0)


def draw_sketched(label: int, random: np.random.Generator) -> np.ndarray:
    """Draw the outline of the shape of the class on clouds that thin lines cross, with more noise."""
    canvas = Canvas(random, ("clouds",))
    for _ in range(int(random.integers(1, 4))):
        ends = random.uniform(0, SIDE, (2, 2)).tolist()
        canvas.draw_line([(x, y) for x, y in ends], canvas.draw_colour(), 0.7)
    at = find_room(random, random.uniform(18, 32), ())
    assert at
    points = _turn_at_random(list(SHAPES.values())[label], at, random)
    canvas.outline(points, canvas.draw_colour(), random.uniform(1.5, 3))
    return canvas.finish(16.0)


def _choose(random: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(random.integers(len(choices)))]


def _turn_at_random(shape: Points, at: Circle, random: np.random.Generator) -> Points:
    return place(shape, at, random.uniform(0, FULL_TURN))


def _add_distractors(
    canvas: Canvas, others: Sequence[Circle], count: int, shapes: Sequence[Points] = (SQUARE, DISC, TRIANGLE)
) -> None:
    """Draw small objects that mean nothing, apart from others."""
    for at in scatter(canvas.random, canvas.random.uniform(2.5, 6, count).tolist(), others):
        canvas.fill(_turn_at_random(_choose(canvas.random, shapes), at, canvas.random), canvas.draw_colour())


def _number(count: int, word: str) -> tuple[str, ...]:
    return tuple(f"{word}{number:02}" for number in range(count))


TASKS: dict[str, Task] = {
    "counting": Task(tuple(f"{count}_objects" for count in range(1, 7)), draw_counting),
    "orientation": Task(_number(8, "orientation"), draw_orientation),
    "direction": Task(_number(16, "direction"), draw_direction),
    "distance": Task(_number(6, "distance"), draw_distance),
    "depth": Task(_number(6, "depth"), draw_depth),
    "position": Task(_number(16, "cell"), draw_position),
    "texture": Task(tuple(TEXTURES), draw_texture),
    "shape": Task(tuple(SHAPES), draw_shape),
    "domain_shift": Task(tuple(SHAPES), draw_clean, draw_sketched),
}
"""All rendered tasks by name."""
