"""Models that names stood for are remembered, within a bound."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from service.predictions import models
from service.predictions.models import RememberedModels
from service.predictions.protocol import NamedModel

if TYPE_CHECKING:
    import pytest


def name_models(count: int, place: int = 0) -> list[NamedModel]:
    return [NamedModel(f"model-{place}-{number:06}", f"ckpt_{place}_{number:026}") for number in range(count)]


def test_lists_are_recalled_by_their_names_in_their_order() -> None:
    remembered = RememberedModels()
    one, other = NamedModel("one", "ckpt_1"), NamedModel("other", "ckpt_2")
    remembered.remember([one, other])
    assert remembered.recall(["one", "other"]) == [one, other]
    assert remembered.recall(["other", "one"]) is None
    moved = NamedModel("other", "ckpt_3")
    remembered.remember([one, moved])
    assert remembered.recall(["one", "other"]) == [one, moved]
    for _ in range(2):
        remembered.forget(["one", "other"])
    assert remembered.recall(["one", "other"]) is None


def test_the_memory_of_long_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_REMEMBERED_BYTES", 2 << 20)
    remembered = RememberedModels()
    tracemalloc.start()
    try:
        for place in range(30):
            remembered.remember(name_models(1000, place))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    names = [named.model for named in name_models(1000, 29)]
    assert remembered.recall(names) == name_models(1000, 29)
    assert remembered.recall([named.model for named in name_models(1000, 0)]) is None
    assert taken < 3 << 20, "they are measured as they are"
