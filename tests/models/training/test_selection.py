"""Selection of the weights to deliver, among epochs with known figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.catalog.early_stopping import EarlyStopping
from models.training.selection import Figures, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[float, float]
"""Loss and accuracy."""


def select(baselines: dict[str, Row], epochs: Sequence[Row], stopping: EarlyStopping | None = None) -> Selection:
    """Select among baselines and epochs."""
    selection = Selection(stopping)
    for name, (loss, accuracy) in baselines.items():
        selection.add_baseline(name, Figures(loss, accuracy, accuracy, accuracy), dict)
    for number, (loss, accuracy) in enumerate(epochs, 1):
        selection.add_epoch(number, Figures(loss, accuracy, accuracy, accuracy), dict)
    return selection


BASELINES: dict[str, Row] = {"constant": (0.7, 0.6), "lda": (0.5, 0.8)}


@pytest.mark.parametrize(
    ("epochs", "epoch"),
    [
        ([(0.4, 0.8)], 1),
        ([(0.4, 0.79)], 0),
        ([(0.6, 0.9)], 0),
        ([(0.45, 0.9), (0.3, 0.7), (0.4, 0.85)], 3),
        ([(0.5, 0.8)], 0),
    ],
    ids=["better", "less accurate", "of greater loss", "best of those as accurate", "as good"],
)
def test_no_epoch_is_selected_that_is_worse_than_a_baseline(epochs: list[Row], epoch: int) -> None:
    selection = select(BASELINES, epochs, EarlyStopping())
    assert (selection.epoch, selection.name) == (epoch, "epoch" if epoch else "lda")


def test_of_baselines_the_most_accurate_is_selected_and_then_that_of_the_least_loss() -> None:
    assert select({"constant": (0.3, 0.9), "lda": (0.2, 0.8)}, [], EarlyStopping()).name == "constant"
    assert select({"constant": (0.3, 0.9), "lda": (0.2, 0.9)}, [], EarlyStopping()).name == "lda"


def test_patience_counts_from_the_last_epoch_that_improved_whatever_baselines_are() -> None:
    selection = select(BASELINES, [(2.0, 0.1), (1.0, 0.2), (1.5, 0.3)], EarlyStopping())
    assert (selection.improved, selection.epoch) == (2, 0)


def test_without_early_stopping_the_last_epoch_is_kept_and_the_baseline_is_told_of() -> None:
    worse = select(BASELINES, [(0.4, 0.9), (0.4, 0.7)], None)
    assert (worse.epoch, worse.is_below_baseline) == (2, True)
    better = select(BASELINES, [(0.4, 0.7), (0.4, 0.9)], None)
    assert (better.epoch, better.is_below_baseline) == (2, False)


def test_the_target_ends_training_with_its_epoch_unless_a_baseline_is_better() -> None:
    for accuracy, epoch in ((0.85, 1), (0.75, 0)):
        selection = select(BASELINES, [], EarlyStopping())
        selection.add_epoch(1, Figures(0.9, accuracy, accuracy, accuracy), dict, reaches_target=True)
        assert selection.epoch == epoch


def test_of_several_labels_the_loss_decides() -> None:
    selection = Selection(EarlyStopping())
    selection.add_baseline("constant", Figures(0.5, 0.9, None, None), dict)
    selection.add_epoch(1, Figures(0.4, 0.2, None, None), dict)
    assert selection.epoch == 1


figures = st.tuples(st.floats(0, 5), st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0]))


@given(st.lists(figures, min_size=1, max_size=3), st.lists(figures, max_size=8), st.booleans())
def test_whatever_comes_nothing_worse_than_a_baseline_is_selected(
    baselines: list[Row], epochs: list[Row], by_loss: bool
) -> None:
    named = {str(number): row for number, row in enumerate(baselines)}
    stopping = EarlyStopping(metric="validation_loss" if by_loss else "validation_accuracy")
    selection = select(named, epochs, stopping)
    chosen = epochs[selection.epoch - 1] if selection.epoch else named[selection.name]
    assert chosen[1] >= max(accuracy for _, accuracy in baselines)
    if by_loss:
        assert all(chosen[0] <= loss for loss, accuracy in baselines if accuracy >= chosen[1])


def test_it_resumes_from_a_state() -> None:
    stopping = EarlyStopping()
    one, other = select(BASELINES, [(0.45, 0.9)], stopping), Selection(stopping)
    other.load_state_dict(one.state_dict())
    for selection in (one, other):
        selection.add_epoch(2, Figures(0.44, 0.7, 0.7, 0.7), dict)
        selection.add_epoch(3, Figures(0.43, 0.9, 0.9, 0.9), dict)
    assert one.state_dict() == other.state_dict()
    assert other.epoch == 3


def test_figures_are_of_the_labels_and_weights() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1, 0, 2, 2]), 4).float()
    figures: Any = Figures.from_logits(0.5, logits, labels, torch.tensor([1.0, 3.0, 2.0, 9.0]))
    assert figures.accuracy == pytest.approx(5 / 7)
    assert figures.balanced_accuracy == pytest.approx(np.mean([3 / 4, 0, 1])), "the fourth class does not occur"
    assert figures.weighted_accuracy == pytest.approx((3 + 2 * 2) / (4 + 3 + 2 * 2))


@pytest.mark.parametrize(
    ("points", "share"),
    [
        ([(0.25, (0.4, 0.9)), (0.5, (0.3, 0.9)), (0.75, (0.35, 0.9))], 0.5),
        ([(0.25, (0.2, 0.79)), (0.5, (0.6, 0.95)), (0.75, (0.45, 0.85))], 1.0),
    ],
    ids=["the best of all", "none is as accurate as the baseline and better than the epoch"],
)
def test_between_start_and_epoch_the_best_point_is_selected(points: list[tuple[float, Row]], share: float) -> None:
    selection = select(BASELINES, [(0.45, 0.85)], EarlyStopping())
    for at, (loss, accuracy) in points:
        selection.add_point(at, Figures(loss, accuracy, accuracy, accuracy), dict)
    assert selection.share == share
    best = {0.5: {"validation_loss": 0.3, "validation_accuracy": 0.9}}
    assert selection.figures == best.get(share, {"validation_loss": 0.45, "validation_accuracy": 0.85})


def test_a_point_on_the_way_to_an_epoch_that_is_worse_than_the_start_may_be_better_than_both() -> None:
    """Training harms, but a part of the way does not: no epoch is selected, a point is."""
    selection = Selection(EarlyStopping(), interpolates=True)
    selection.add_baseline("probe", Figures(0.5, 0.8, 0.8, 0.8), dict)
    for epoch, loss in enumerate((0.7, 0.6, 0.9), 1):
        weights = {"w": torch.tensor(float(epoch))}
        selection.add_epoch(epoch, Figures(loss, 0.75, 0.75, 0.75), weights.copy)
    assert (selection.name, selection.epoch, selection.improved_state) == ("probe", 0, {"w": torch.tensor(2.0)})
    other = Selection(EarlyStopping(), interpolates=True)
    other.load_state_dict(selection.state_dict())
    for each in (selection, other):
        each.add_point(0.25, Figures(0.45, 0.79, 0.79, 0.79), dict)
        assert (each.name, each.share) == ("probe", None), "less accurate than the probe"
        each.add_point(0.5, Figures(0.4, 0.82, 0.82, 0.82), dict)
        assert (each.name, each.epoch, each.share) == ("epoch", 2, 0.5)
        assert each.figures == {"validation_loss": 0.4, "validation_accuracy": 0.82}


def test_the_weights_of_an_epoch_are_held_once() -> None:
    selection = Selection(EarlyStopping(), interpolates=True)
    selection.add_baseline("probe", Figures(0.5, 0.8, 0.8, 0.8), dict)
    selection.add_epoch(1, Figures(0.6, 0.7, 0.7, 0.7), dict)
    selection.add_epoch(2, Figures(0.4, 0.8, 0.8, 0.8), dict)
    assert (selection.epoch, selection.improved_state) == (2, None)
    assert select({"probe": (0.5, 0.8)}, [(0.6, 0.7)], EarlyStopping()).improved_state is None, (
        "nothing is interpolated"
    )


def test_where_logits_are_calibrated_their_loss_is_compared() -> None:
    """Stages that are sure of themselves are more accurate at a greater loss."""
    selection = Selection(EarlyStopping())
    selection.add_baseline("probe", Figures(0.9, 0.7, 0.7, 0.7, calibrated_loss=0.85), dict)
    assert selection.add_epoch(1, Figures(1.3, 0.8, 0.8, 0.8, calibrated_loss=0.7), dict)
    assert not selection.add_epoch(2, Figures(1.1, 0.8, 0.8, 0.8, calibrated_loss=0.75), dict)
    assert (selection.name, selection.epoch) == ("epoch", 1)
    assert selection.figures == {"validation_loss": 1.3, "validation_accuracy": 0.8}
