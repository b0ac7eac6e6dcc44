"""Images to compare networks on: shapes on textures, with the spectrum and the colours that photographs have.

The amplitudes of natural images fall as 1/f (Field, 1987: Relations between the statistics of natural images and the
response properties of cortical cells), and most of their variance is in brightness. They are drawn here, the same
everywhere, so that no photographs need to be shipped.
"""

from __future__ import annotations

import numpy as np

SLOPES = (1.0, 2.0)
"""Least and greatest exponent of the fall of amplitudes."""
COLOURS = np.array([[1.0, 1.0, 1.0], [0.35, 0.0, -0.35], [0.12, -0.25, 0.12]])
"""How brightness and two opponent colours (warm and cold, green and purple) mix into red, green and blue."""
SHAPES = 5
"""Most shapes of an image."""


def render_images(count: int, height: int, width: int) -> np.ndarray:
    """Render images, as uint8 of shape (count, 3, height, width); the same for the same arguments."""
    return np.stack([_render(np.random.default_rng([number, 20260101]), height, width) for number in range(count)])


def _render(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = _render_texture(random, height, width)
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    for _ in range(random.integers(1, SHAPES + 1)):
        mask = _render_shape(random, rows, columns, softness=2.0 / min(height, width))
        image += mask * (_render_texture(random, height, width) - image)
    light = random.uniform(-0.4, 0.4, 2)
    image *= 1.0 + light[0] * rows + light[1] * columns
    return (image.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def _render_texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Render noise whose amplitudes fall with frequency, around a colour, as (3, height, width) from about 0 to 1."""
    slope = random.uniform(*SLOPES)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((3, height, width))) / frequencies**slope
    planes = np.fft.irfft2(noise, (height, width))
    planes /= planes.std((1, 2), keepdims=True) + 1e-9
    contrast = random.uniform(0.05, 0.25)
    colour = random.uniform(0.15, 0.85) + random.normal(0.0, 0.12, 3)
    texture: np.ndarray = colour[:, None, None] + contrast * np.tensordot(COLOURS.T, planes, 1)
    return texture


def _render_shape(random: np.random.Generator, rows: np.ndarray, columns: np.ndarray, softness: float) -> np.ndarray:
    """Render an ellipse or a convex polygon, as a mask from 0 to 1 with soft edges."""
    row, column = random.uniform(-0.7, 0.7, 2)
    size = random.uniform(0.15, 0.7)
    angle = random.uniform(0.0, np.pi)
    across = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
    along = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
    if random.random() < 0.5:
        distance = np.hypot(across / random.uniform(0.4, 1.0), along) - size
    else:
        sides = 2 * np.pi * np.arange(random.integers(3, 7)) / 6
        distance = np.max([across * np.cos(side) + along * np.sin(side) for side in sides], axis=0) - size
    mask: np.ndarray = 1.0 / (1.0 + np.exp((distance / softness).clip(-30.0, 30.0)))
    return mask
