"""Growth of views: one more while the last has helped, and none where none can."""

from __future__ import annotations

from models.messages import EpochEnded
from models.training.view_schedule import EASY, PATIENCE, ViewSchedule


def epoch(number: int, loss: float, accuracy: float = 0.6, train: float = 0.9) -> EpochEnded:
    return EpochEnded(
        epoch=number,
        view=0,
        train_loss=0.1,
        train_accuracy=train,
        validation_loss=loss,
        validation_accuracy=accuracy,
        lr=0.1,
        seconds=0.0,
        cache_hits=0,
        cache_misses=0,
    )


def views(view_schedule: ViewSchedule, losses: list[float], **known: float) -> list[int]:
    """The views after each epoch with such a loss."""
    found = []
    for number, loss in enumerate(losses, 1):
        view_schedule.update(epoch(number, loss, **known))
        found.append(view_schedule.views)
    return found


def test_what_does_not_grow_has_all_views_from_the_start() -> None:
    view_schedule = ViewSchedule(3, grows=False, patience=20)
    assert view_schedule.is_over
    assert views(view_schedule, [1.0] * 40) == [3] * 40


def test_a_view_is_added_when_the_loss_improves_no_more() -> None:
    view_schedule = ViewSchedule(4, grows=True, patience=20)
    falling = [1.0 - 0.01 * number for number in range(30)]
    assert views(view_schedule, falling) == [0] * 30
    assert views(view_schedule, [1.0] * PATIENCE) == [0] * (PATIENCE - 1) + [1]
    assert not view_schedule.is_over


def test_another_is_added_only_if_the_last_one_has_helped() -> None:
    view_schedule = ViewSchedule(4, grows=True, patience=20)
    views(view_schedule, [0.5] + [1.0] * PATIENCE)
    assert views(view_schedule, [0.494] + [1.0] * PATIENCE)[-1] == 2
    assert views(view_schedule, [0.493] + [1.0] * PATIENCE)[-1] == 2
    assert view_schedule.is_over
    assert views(view_schedule, [0.1] + [1.0] * 50)[-1] == 2, "and that is that"


def test_there_are_never_more_than_the_most() -> None:
    view_schedule = ViewSchedule(2, grows=True, patience=20)
    losses = [loss for level in (1.0, 0.9, 0.8, 0.7) for loss in [level] + [2.0] * PATIENCE]
    assert views(view_schedule, losses)[-1] == 2
    assert view_schedule.is_over


def test_no_view_is_tried_where_little_is_left_to_gain_or_nothing_is_learned_by_heart() -> None:
    for known in ({"accuracy": EASY}, {"accuracy": 0.8, "train": 0.8}):
        view_schedule = ViewSchedule(4, grows=True, patience=20)
        assert views(view_schedule, [1.0] * 30, **known)[-1] == 0
        assert view_schedule.is_over


def test_an_impatient_training_asks_sooner() -> None:
    view_schedule = ViewSchedule(4, grows=True, patience=3)
    assert views(view_schedule, [1.0] * 4) == [0, 0, 0, 1]
