"""Canvas of rendered images: contrast, margins and textures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.canvas import CONTRAST, SCALE, SIDE, TEXTURES, Canvas, make_texture


def test_colours_stand_out_from_the_ground_and_from_each_other() -> None:
    for seed in range(200):
        canvas = Canvas(np.random.default_rng(seed))
        levels = sorted([canvas.level, *(float(np.mean(colour)) for colour in canvas.draw_colours(2))])
        # A tint is cut off at 0 and 255, which moves its mean by some.
        assert np.diff(levels).min() > CONTRAST - 20


def test_a_filled_square_covers_its_area() -> None:
    canvas = Canvas(np.random.default_rng(0), ("flat",))
    ground = canvas.finish(0.0).copy()
    canvas.fill([(20, 20), (60, 20), (60, 60), (20, 60)], canvas.draw_colour())
    is_changed = (canvas.finish(0.0) != ground).any(2)
    assert is_changed[21:60, 21:60].all()
    assert not is_changed[:20].any()
    assert is_changed.sum() == pytest.approx(40 * 40, rel=0.06)


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_has_two_colours_in_any_part_of_the_canvas(name: str) -> None:
    texture = make_texture(name, np.random.default_rng(3))
    assert texture.shape == (SIDE * SCALE, SIDE * SCALE)
    quarters = [texture[: len(texture) // 2], texture[len(texture) // 2 :]]
    assert all(0.15 < quarter.mean() < 0.85 for quarter in quarters)


def test_stripes_are_as_wide_as_their_duty() -> None:
    u, v = np.meshgrid((np.arange(1000) + 0.5) / 100, np.zeros(3))
    assert TEXTURES["stripes"](u, v, 0.4, np.random.default_rng(0)).mean() == pytest.approx(0.4)


def test_the_deviation_of_noise_stays_below_the_largest() -> None:
    canvas = Canvas(np.random.default_rng(1), ("flat",))
    noisy = canvas.finish(8.0).astype(float)
    assert noisy.std((0, 1)).max() < 8.5
