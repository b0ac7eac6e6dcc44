"""Batch sizes: whole up to images of 512x512, then by their pixels."""

from __future__ import annotations

import pytest

from models.features.engines.batch_size import limit_batch_size


@pytest.mark.parametrize(
    ("full", "height", "width", "expected"),
    [
        (16, 32, 32, 16),
        (16, 512, 512, 16),
        (16, 512, 513, 15),
        (16, 1024, 1024, 4),
        (16, 2048, 2048, 1),
        (16, 2048, 512, 4),
        (4, 1024, 1024, 1),
        (4, 2048, 2048, 1),
        (128, 2048, 2048, 8),
    ],
)
def test_a_batch_has_the_pixels_of_a_full_one_of_512_at_most(full: int, height: int, width: int, expected: int) -> None:
    assert limit_batch_size(full, (3, height, width)) == expected
