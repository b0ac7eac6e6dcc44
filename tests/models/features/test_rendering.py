"""Rendering: batches in order, and few large images in memory at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.features import rendering
from models.features.rendering import render_images
from models.images.views import Views
from tests.support.small_pack import PREPROCESSING, small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from models.datasets.pack import Pack

ORDER = np.random.default_rng(0).integers(0, 12, 103)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """A pack of 12 images."""
    return small_pack(tmp_path, classes=3, each=4)


def render_all(pack: Pack, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Render view 0 of some images, some of them twice."""
    return list(render_images(pack, Views(PREPROCESSING, ()), ORDER[:20], 0, size))


def test_large_images_are_rendered_few_at_a_time_and_in_order(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = render_all(pack, 7)
    monkeypatch.setattr(rendering, "LOOKAHEAD_BYTES", 1)
    for (images, pixels), (same, equal) in zip(render_all(pack, 7), expected, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(pixels, equal)
    assert [len(images) for images, _ in expected] == [7, 7, 6]


def test_an_image_is_rendered_only_when_those_before_it_are_used(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one batch, and as many images ahead as the limit lets wait, are there at once."""
    rendered: list[int] = []
    views = Views(PREPROCESSING, ())

    class Recorded(Views):
        def render(self, image: Image.Image, digest: bytes, view: int) -> np.ndarray:
            rendered.append(view)
            return views.render(image, digest, view)

    monkeypatch.setattr(rendering, "LOOKAHEAD_BYTES", 2 * 3 * 16 * 16)
    batches = render_images(pack, Recorded(PREPROCESSING, ()), ORDER[:20], 0, 5)
    next(batches)
    batches.close()
    assert len(rendered) <= 5 + 2
