"""The view that predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx2 import Response


def test_without_a_model_it_says_what_is_first(browse: Callable[..., Response]) -> None:
    assert "No model yet" in browse("/try").text


def test_any_checkpoint_can_be_named(browse: Callable[..., Response]) -> None:
    assert '<option value="ckpt_x" selected>' in browse("/try?model=ckpt_x").text
