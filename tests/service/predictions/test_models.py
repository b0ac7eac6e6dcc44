"""Models that names stood for are remembered, the newest of them."""

from __future__ import annotations

from service.predictions import models
from service.predictions.models import RememberedModels
from service.predictions.protocol import NamedModel


def test_the_lists_that_were_asked_for_longest_ago_are_forgotten() -> None:
    remembered = RememberedModels()
    for number in range(models.MOST_REMEMBERED):
        remembered.remember([str(number)], [NamedModel(str(number), "ckpt_1")])
    assert remembered.recall(["0"]) == [NamedModel("0", "ckpt_1")]
    remembered.remember(["new", "0"], [NamedModel("new", "ckpt_2"), NamedModel("0", "ckpt_1")])
    assert remembered.recall(["0"]) is not None
    assert remembered.recall(["1"]) is None, "it was asked for longest ago"
    assert remembered.recall(["0", "new"]) is None, "in another order"
    remembered.forget(["0"])
    remembered.forget(["0"])
    assert remembered.recall(["0"]) is None
