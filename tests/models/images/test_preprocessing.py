"""Preprocessing at other sizes."""

from __future__ import annotations

import pytest
import timm

from models.images.preprocessing import Preprocessing


def preprocessing(*input_size: int) -> Preprocessing:
    """Make the preprocessing of a network with this input size."""
    return Preprocessing.from_config({"input_size": input_size})


@pytest.mark.parametrize("input_size", [(3, 224, 224), (3, 1024, 768), (3, 97, 130)])
def test_at_its_own_side_it_is_unchanged(input_size: tuple[int, int, int]) -> None:
    own = preprocessing(*input_size)
    assert own.resize_to(own.side) == own


@pytest.mark.parametrize(
    ("input_size", "side", "expected"),
    [((3, 224, 224), 96, (3, 96, 96)), ((3, 1024, 768), 512, (3, 512, 384)), ((3, 100, 200), 50, (3, 25, 50))],
)
def test_at_another_side_it_keeps_its_proportions(
    input_size: tuple[int, int, int], side: int, expected: tuple[int, int, int]
) -> None:
    at = preprocessing(*input_size).resize_to(side)
    assert (at.input_size, at.side) == (expected, side)


def test_what_is_not_square_in_timm() -> None:
    cfg = timm.models.get_pretrained_cfg("vit_base_patch16_sapiens2.fb").to_dict()
    own = Preprocessing.from_config(cfg)
    assert own.resize_to(own.side).input_size == (3, 1024, 768)
