"""Split conformal prediction: hand-computed sets, and coverage as promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.conformal import COVERAGES, compute_scores, find_threshold, keep_scores, make_sets, measure_sets


def test_scores_and_sets_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4], [0.25, 0.25, 0.5]])
    labels = np.array([0, 1, 0, 2])
    scores = compute_scores(np.log(probabilities) + 5, labels)
    assert np.allclose(scores, -np.log([0.7, 0.9, 0.3, 0.5]))
    kept = keep_scores(scores)
    # With four held-out images, the ⌈5·0.6⌉ = 3rd least score is that of the probability 0.5.
    threshold = find_threshold(kept, 4, 0.6)
    assert threshold == pytest.approx(-math.log(0.5), rel=1e-3)
    assert threshold >= -math.log(0.5), "rounded up, so that the image itself is covered"
    sets = make_sets(np.log([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]]), threshold, is_multi_label=False)
    assert sets.tolist() == [[True, False, False], [False, False, False]], "the second is left without an answer"


def test_several_labels_are_covered_together() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [-3.0, 1.0, 0.0], [-1.0, -1.0, -1.0]])
    labels = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32)
    scores = compute_scores(logits, labels)
    assert np.allclose(scores, [math.log1p(math.exp(-0.5)), math.log1p(math.exp(-1.0)), 0.0])
    threshold = find_threshold(keep_scores(scores), 3, 0.75)
    sets = make_sets(logits, threshold, is_multi_label=True)
    assert sets.tolist() == [[True, False, True], [False, True, False], [False, False, False]]


@pytest.mark.parametrize(("held_out", "coverage"), [(4, 0.81), (9, 0.95), (19, 0.951), (1, 0.51)])
def test_too_few_held_out_images_give_all_classes(held_out: int, coverage: float) -> None:
    assert find_threshold(keep_scores(np.ones(held_out)), held_out, coverage) == math.inf
    assert make_sets(np.array([[50.0, -50.0]]), math.inf, is_multi_label=False).all()


def test_enough_held_out_images_give_the_greatest_score() -> None:
    for held_out, coverage in ((4, 0.8), (9, 0.9), (19, 0.95)):
        kept = keep_scores(np.arange(1.0, held_out + 1))
        assert find_threshold(kept, held_out, coverage) == held_out


@pytest.mark.parametrize("held_out", [1, 7, 255, 256, 300, 5000])
def test_of_many_scores_few_are_kept_and_never_a_smaller_one(held_out: int) -> None:
    scores = np.random.default_rng(held_out).exponential(size=held_out)
    kept = keep_scores(scores)
    assert len(kept) <= 257
    for coverage in (0.01, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        rank = math.ceil(round((held_out + 1) * coverage, 9))
        threshold = find_threshold(kept, held_out, coverage)
        if rank > held_out:
            assert threshold == math.inf
            continue
        covered = (scores <= threshold).mean()
        assert covered >= coverage
        assert covered <= coverage + 1 / 256 + 2 / held_out


def test_sets_have_the_coverage_that_is_asked_for() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        logits = random.normal(size=(400, 5)) * 2
        labels = np.array([random.choice(5, p=row) for row in np.exp(logits) / np.exp(logits).sum(1, keepdims=True)])
        kept = keep_scores(compute_scores(logits[:200], labels[:200]))
        sets = make_sets(logits[200:], find_threshold(kept, 200, 0.9), is_multi_label=False)
        covered.append(sets[np.arange(200), labels[200:]].mean())
    assert 0.895 < np.mean(covered) < 0.91


def test_sets_are_measured_on_other_images_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    held_out = np.log(probabilities), np.array([0, 1, 0, 0])
    # 4 held-out images: at 80% the greatest score, -log 0.45; more than that they cannot promise.
    test = np.log([[0.5, 0.5], [0.3, 0.7], [0.44, 0.56], [0.95, 0.05]]), np.array([0, 0, 1, 0])
    rows = {row.pop("coverage"): row for row in measure_sets(held_out, test)}
    assert list(rows) == list(COVERAGES)
    assert rows[0.8] == {"empirical": 0.75, "mean_size": 1.25, "single": 0.75, "empty": 0.0}
    assert rows[0.9] == {"empirical": 1.0, "mean_size": 2.0, "single": 0.0, "empty": 0.0}


def test_measured_coverage_is_that_of_the_sets() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(600, 5)), random.integers(0, 5, 600)
    logits[np.arange(600), labels] += 1
    (row,) = [
        row
        for row in measure_sets((logits[:300], labels[:300]), (logits[300:], labels[300:]))
        if row["coverage"] == 0.9
    ]
    threshold = find_threshold(keep_scores(compute_scores(logits[:300], labels[:300])), 300, 0.9)
    sets = make_sets(logits[300:], threshold, is_multi_label=False)
    assert row["empirical"] == sets[np.arange(300), labels[300:]].mean() == pytest.approx(0.9, abs=0.04)
    assert row["mean_size"] == sets.sum(1).mean()
    assert row["empty"] + row["single"] <= 1


def test_of_several_labels_a_set_covers_if_it_holds_all() -> None:
    held_out = np.array([[3.0, 0.0]] * 4), np.array([[1.0, 0.0]] * 4)
    test = np.array([[4.0, 3.5], [4.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    row = measure_sets(held_out, test)[0]
    assert (row["empirical"], row["mean_size"], row["empty"]) == (2 / 3, 1.0, 1 / 3)
