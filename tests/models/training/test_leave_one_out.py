"""Leave-one-out in closed form against classifiers that are fitted anew without each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from models.training import lda, leave_one_out
from models.training.leave_one_out import predict_left_out
from tests.support.lda_problem import problem, refit, statistics_of


@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
def test_of_one_label_it_is_lda_fitted_to_all_others(shrinkage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits by definition, up to what is added to those of all classes, and what makes up for means of few images."""
    monkeypatch.setattr(lda, "SHRINKAGES", (shrinkage,))
    monkeypatch.setattr(lda, "TEMPERATURES", (1.0,))
    x, y = problem(120)
    found = predict_left_out(x, y.numpy(), 3)
    statistics = statistics_of(x, y)
    scale = statistics.covariance.diagonal().mean()
    expected = []
    for image in range(len(x)):
        others = torch.arange(len(x)) != image
        means, covariance = refit(x[others], y[others], shrinkage, scale, statistics.freedom)
        gaps = x[image].double() - means
        distances = (gaps * torch.linalg.solve(covariance, gaps.T).T).sum(1)
        expected.append((statistics.counts / len(x)).log().double() - distances / 2)
    wanted = torch.stack(expected).numpy()
    assert np.corrcoef((found - found[:, :1])[:, 1:].ravel(), (wanted - wanted[:, :1])[:, 1:].ravel())[0, 1] > 0.999
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.97


@pytest.mark.parametrize("strength", [1e-3, 0.1])
@pytest.mark.parametrize(("rows", "features"), [(80, 12), (40, 60)], ids=["many", "few"])
def test_of_several_labels_it_is_scikit_learns_ridge_fitted_to_all_others(
    strength: float, rows: int, features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_one_out, "STRENGTHS", (strength,))
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, features))
    targets = (x[:, :3] + random.normal(size=(rows, 3)) > 0.3).astype(np.float32)
    found = predict_left_out(torch.from_numpy(x).float(), targets, 3)
    for image in range(rows):
        others = np.arange(rows) != image
        plain = Ridge(alpha=strength * rows).fit(x[others], targets[others])
        np.testing.assert_allclose(found[image] + 0.5, plain.predict(x[image : image + 1])[0], atol=2e-3)


def test_the_strength_with_the_least_error_is_taken() -> None:
    """Labels that no feature tells: the strongest gives nearly the mean of the others."""
    random = np.random.default_rng(1)
    targets = (random.random((60, 2)) > 0.5).astype(np.float32)
    found = predict_left_out(torch.from_numpy(random.normal(size=(60, 50))).float(), targets, 2)
    means = (targets.sum(0) - targets) / 59
    assert np.abs(found + 0.5 - means).mean() < 0.1


def test_an_image_alone_in_its_class_is_taken_for_another() -> None:
    x, y = problem(60)
    x, y = torch.cat([x[y != 2], x[y == 2][:1]]), torch.cat([y[y != 2], y[y == 2][:1]])
    found = predict_left_out(x, y.numpy(), 3)
    assert found.shape == (len(y), 3)
    assert found[-1].argmax() != 2
    assert np.isfinite(found).all()
    alone = predict_left_out(x[:3], np.arange(3), 3)
    assert (alone.argmax(1) != np.arange(3)).all()
