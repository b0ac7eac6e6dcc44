"""Epochs of a job, collected from its events."""

from __future__ import annotations

from graft.epoch_history import EpochHistory


def test_epochs_that_are_trained_again_replace_the_earlier_ones() -> None:
    history = EpochHistory()
    for number, accuracy in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4), (3, 0.5)):
        history.add({"kind": "phase", "data": {"phase": "training"}})
        history.add({"kind": "epoch", "data": {"epoch": number, "validation_accuracy": accuracy}})
    found = [(epoch["epoch"], epoch["validation_accuracy"]) for epoch in history.epochs]
    assert found == [
        (1, 0.1),
        (2, 0.4),
        (3, 0.5),
    ]
