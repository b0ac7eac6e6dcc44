"""Linear discriminant analysis against scikit-learn's and by hand; a head starts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from models.catalog.recipe import Recipe
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.networks.cut_network import CutNetwork
from models.training import lda
from models.training.inputs import Subset, TrainingRun
from models.training.lda import SHRINKAGES, TEMPERATURES, FittedLDA, Statistics, fit_lda
from models.training.trainable_model import TrainableModel
from tests.support.small_pack import PREPROCESSING, Corner, small_pack

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ["blue", "green", "red"]


def problem(rows: int = 300, features: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, standardized, of different sizes."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), rows, replacement=True, generator=random)
    mixing = torch.randn(features, features, generator=torch.Generator().manual_seed(7))
    centres = torch.randn(3, features, generator=torch.Generator().manual_seed(8))
    rows_ = torch.randn(rows, features, generator=random) @ mixing / 4 + centres[labels]
    return (rows_ - rows_.mean(0)) / rows_.std(0), labels


def statistics_of(x: torch.Tensor, y: torch.Tensor, size: int = 64) -> Statistics:
    return Statistics.from_batches(zip(torch.split(x, size), torch.split(y, size), strict=True), x.shape[1], 3)


def best_of(*arguments: Any) -> FittedLDA:
    return min(fit_lda(*arguments), key=lambda one: one.loss)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_statistics_are_those_of_all_rows_however_they_come(size: int) -> None:
    x, y = problem()
    found = statistics_of(x, y, size)
    assert found.counts.tolist() == torch.bincount(y).tolist()
    within = torch.cat([x[y == label] - x[y == label].mean(0) for label in range(3)])
    torch.testing.assert_close(found.covariance, within.T @ within / (len(x) - 3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.means, torch.stack([x[y == label].mean(0) for label in range(3)]))


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 0.9])
def test_it_is_scikit_learns(shrinkage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lda, "SHRINKAGES", (shrinkage,))
    monkeypatch.setattr(lda, "TEMPERATURES", (1.0,))
    x, y = problem()
    statistics = statistics_of(x, y)
    found = best_of(statistics, statistics.counts, torch.nn.functional.cross_entropy, x, y)
    # scikit-learn divides the scatter by n, not by n - C.
    scaled = x * ((len(x) - 3) / len(x)) ** -0.5
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0).fit(scaled.numpy(), y.numpy())
    covariance = (1 - shrinkage) * statistics.covariance
    covariance += shrinkage * statistics.covariance.diagonal().mean() * torch.eye(x.shape[1])
    weight = torch.linalg.solve(covariance.double(), statistics.means.T.double()).T
    torch.testing.assert_close(found.weight.double(), weight, atol=1e-4, rtol=1e-3)
    assert theirs.coef_.shape == found.weight.shape
    predictions = (x @ found.weight.T + found.bias).argmax(1)
    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x.numpy(), y.numpy())
    assert (predictions.numpy() == plain.predict(x.numpy())).mean() > 0.97


def test_shrinkage_and_temperature_are_the_best_of_all() -> None:
    x, y = problem(90, 40)
    other, known = problem(200, 40, seed=1)
    statistics = statistics_of(x, y)
    loss = torch.nn.functional.cross_entropy
    found = best_of(statistics, statistics.counts, loss, other, known)
    least = loss(other @ found.weight.T + found.bias, known)
    assert found.loss == pytest.approx(least.item())
    path = fit_lda(statistics, statistics.counts, loss, other, known)
    assert [one.shrinkage for one in path] == list(SHRINKAGES)
    for shrinkage, one in zip(SHRINKAGES, path, strict=True):
        covariance = (1 - shrinkage) * statistics.covariance
        covariance += shrinkage * statistics.covariance.diagonal().mean() * torch.eye(40)
        weight = torch.linalg.solve(covariance, statistics.means.T).T
        bias = (statistics.counts / 90).log() - (weight * statistics.means).sum(1) / 2
        for temperature in TEMPERATURES:
            reached = loss(temperature * (other @ weight.T + bias), known)
            assert reached >= one.loss - 1e-4 >= least - 2e-4
            if temperature == one.temperature:
                assert reached.item() == pytest.approx(one.loss, abs=1e-4)
        predictions = (other @ weight.T + bias).argmax(1)
        assert one.accuracy == pytest.approx((predictions == known).float().mean().item(), abs=0.011)


def test_features_that_never_vary_do_no_harm() -> None:
    x, y = problem()
    x = torch.cat([x, torch.zeros(len(x), 5)], 1)
    statistics = statistics_of(x, y)
    found = best_of(statistics, statistics.counts, torch.nn.functional.cross_entropy, x, y)
    assert found.weight.isfinite().all()
    assert found.weight[:, -5:].abs().max() == 0


def order() -> np.ndarray:
    """A random order of the images."""
    return np.random.default_rng(0).permutation(90)


def started(folder: Path, **choices: object) -> tuple[TrainableModel, float]:
    """A head that starts from LDA, and its validation accuracy."""
    pack = small_pack(folder, classes=3, each=30)
    recipe = Recipe.model_validate({"optimizer": {"lr": 0.01}, **choices}).resolve(
        task="single_label", image_size=16, num_features=12, class_counts=dict.fromkeys(CLASSES, 20), images=60
    )
    cut_network = CutNetwork(Corner(), torch.nn.Identity(), "corner", (12,), "digest")
    source = Extractor(cut_network, PREPROCESSING, torch.device("cpu"), FeatureCache(folder / "cache")).open_source(
        pack, []
    )
    train, validation = (Subset(part, pack.labels[part]) for part in (order()[:60], order()[60:]))
    model = TrainableModel.from_recipe(recipe, 3, cut_network, source, train.images)
    note = lda.initialize_head(TrainingRun(recipe, CLASSES, model, source, train, validation))
    model.eval()
    with torch.inference_mode():
        logits = model.head(model.compute_features(source, validation.images))
    accuracy = float((logits.argmax(1).numpy() == validation.labels).mean())
    assert note.data["accuracy"] == pytest.approx(accuracy)
    return model, accuracy


def test_a_head_starts_from_it_and_is_told_to_be_as_good_as_it_is(tmp_path: Path) -> None:
    _, accuracy = started(tmp_path)
    assert accuracy > 0.8


def test_priors_follow_what_training_makes_of_rare_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By class weights, and by balanced sampling."""
    monkeypatch.setattr(lda, "SHRINKAGES", (0.5,))
    monkeypatch.setattr(lda, "TEMPERATURES", (1.0,))
    plain, weighted, balanced = (
        started(tmp_path, **choices)[0].head.output.bias.detach()
        for choices in ({}, {"loss": {"class_weights": {"red": 9.0}}}, {"sampling": "balanced"})
    )
    counts = torch.from_numpy(np.bincount(small_pack(tmp_path, 3, 30).labels[order()[:60]])).float()
    lifted = counts * torch.tensor([1.0, 1.0, 9.0])
    torch.testing.assert_close(
        weighted - plain, (lifted / lifted.sum()).log() - (counts / 60).log(), atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(balanced - plain, -(counts / 20).log(), atol=1e-3, rtol=1e-3)
