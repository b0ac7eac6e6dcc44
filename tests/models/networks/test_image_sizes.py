"""Image sizes that networks take, found without computing anything."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from models.networks.image_sizes import explain_unfit_size, find_nearest_sizes, get_patch_side, ignores_border
from tests.support.networks import network


def outline(name: str, **arguments: Any) -> Any:
    """A network without weights."""
    with torch.device("meta"):
        return timm.create_model(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "side", "patch"),
    [
        ("test_resnet", {}, 50, 1),
        ("vit_tiny_patch16_224", {"img_size": 48, "depth": 1}, 48, 16),
        ("vit_small_patch14_dinov2", {"img_size": 70, "depth": 1}, 70, 14),
        ("vit_small_patch16_dinov3", {"depth": 1}, 80, 16),
        ("vit_tiny_r_s16_p8_224", {"img_size": 64, "depth": 1}, 64, 32),
    ],
)
def test_a_network_takes_sizes_of_whole_patches(name: str, arguments: Any, side: int, patch: int) -> None:
    made = outline(name, **arguments)
    assert get_patch_side(made) == patch
    assert explain_unfit_size(made, (3, side, side), patch) is None


@pytest.mark.parametrize(
    ("name", "arguments", "side", "words"),
    [
        ("vit_tiny_patch16_224", {"img_size": 50, "depth": 1}, 50, "16x16"),
        ("vit_tiny_patch16_224", {"depth": 1}, 48, "doesn't match"),
        ("test_maxvit", {"img_size": 160}, 100, "."),
    ],
)
def test_it_says_why_it_does_not_take_a_size(name: str, arguments: Any, side: int, words: str) -> None:
    made = outline(name, **arguments)
    reason = explain_unfit_size(made, (3, side, side), get_patch_side(made))
    assert reason is not None
    assert words in reason


def test_the_nearest_sizes_are_on_both_sides_and_within_bounds() -> None:
    assert find_nearest_sizes(40, 16, lambda _: True) == [32, 48]
    assert find_nearest_sizes(48, 16, lambda _: True) == [32, 64]
    assert find_nearest_sizes(100, 1, lambda side: side % 32 == 0) == [96]
    assert find_nearest_sizes(100, 4, lambda side: side % 32 == 0) == [96, 128]
    assert find_nearest_sizes(20, 16, lambda _: True) == [16, 32]
    assert find_nearest_sizes(2047, 14, lambda _: True) == [2044]
    assert find_nearest_sizes(100, 16, lambda _: False) == []


def test_what_lies_beyond_the_last_patch_is_not_seen() -> None:
    for side, is_ignored in ((64, False), (70, True)):
        vit = network("vit_tiny_patch16_224", img_size=side, depth=1, embed_dim=48)
        assert ignores_border(vit, (3, side, side)) is is_ignored
    assert not ignores_border(network("test_resnet"), (3, 50, 50))
