"""Linear discriminant analysis against scikit-learn's and by hand; a head starts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from models.training.lda import SHRINKAGES, FittedLDA, Labelled, Statistics, fit_lda
from models.training.trainable_model import TrainableModel
from tests.support.lda_problem import problem, refit, statistics_of
from tests.support.small_pack import PREPROCESSING, Corner, small_pack

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ["blue", "green", "red"]


def fit(x: torch.Tensor, y: torch.Tensor, other: torch.Tensor, known: torch.Tensor) -> FittedLDA:
    statistics = statistics_of(x, y)
    return fit_lda(statistics, statistics.counts / len(x), Labelled(x, y), Labelled(other, known))


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
    found = fit(x, y, x, y)
    means, covariance = refit(x, y, shrinkage, statistics_of(x, y).covariance.diagonal().mean(), len(x) - 3)
    weight = torch.linalg.solve(covariance, means.T).T
    torch.testing.assert_close(found.weight.double(), weight, atol=1e-4, rtol=1e-3)
    predictions = (x @ found.weight.T + found.bias).argmax(1)
    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x.numpy(), y.numpy())
    assert (predictions.numpy() == plain.predict(x.numpy())).mean() > 0.97


@pytest.mark.parametrize("shrinkage", [0.03, 0.3, 1.0])
@pytest.mark.parametrize(("rows", "features"), [(90, 20), (40, 60)], ids=["many", "few"])
def test_an_image_that_is_left_out_is_classified_as_if_it_were_unknown(
    shrinkage: float, rows: int, features: int
) -> None:
    """Against a fit to all others, which shrinks towards the same and divides the scatter by the same number."""
    x, y = problem(rows, features)
    statistics = statistics_of(x, y)
    covariance = statistics.covariance
    scale = covariance.diagonal().mean()
    factor = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * scale * torch.eye(features))
    found = lda._compute_left_out_distances(statistics, factor, 1 - shrinkage, Labelled(x, y))
    for image in range(0, rows, 7):
        others = torch.arange(rows) != image
        means, shrunk = refit(x[others], y[others], shrinkage, scale, statistics.freedom)
        gaps = x[image].double() - means
        expected = (gaps * torch.linalg.solve(shrunk, gaps.T).T).sum(1)
        torch.testing.assert_close(found[image].double(), expected, atol=1e-2, rtol=1e-2)


def test_a_class_of_few_images_is_not_taken_to_be_far_away() -> None:
    """Two classes of the same distance from the middle, of 300 and of 6 images: distances are made up for."""
    random = torch.Generator().manual_seed(0)
    y = (torch.arange(306) >= 300).long()
    means = torch.zeros(3, 100)
    means[0, 0], means[1, 0] = 2.0, -2.0
    x = torch.randn(306, 100, generator=random) + means[y]
    unknown = torch.arange(400) % 2
    other = torch.randn(400, 100, generator=random) + means[unknown]
    statistics = Statistics.from_batches([(x, y)], 100, 2)
    found = fit_lda(statistics, torch.tensor([0.5, 0.5]), Labelled(x, y), Labelled(x[::7], y[::7]))
    predictions = (other @ found.weight.T + found.bias).argmax(1)
    recalls = [(predictions[unknown == label] == label).float().mean().item() for label in (0, 1)]
    assert min(recalls) > 0.7
    assert abs(recalls[0] - recalls[1]) < 0.25


def test_shrinkage_and_temperature_have_the_least_loss_on_all_that_is_known() -> None:
    """Classes that overlap."""
    blur = torch.randn(290, 40, generator=torch.Generator().manual_seed(2)) * 2
    (x, y), (other, known) = problem(90, 40), problem(200, 40, seed=1)
    x, other = x + blur[:90], other + blur[90:]
    found = fit(x, y, other, known)
    assert [point.shrinkage for point in found.path] == list(SHRINKAGES)
    best = min(found.path, key=lambda point: point.loss)
    assert (found.shrinkage, found.temperature) == (best.shrinkage, best.temperature)
    losses = [torch.nn.functional.cross_entropy(other @ (c * found.weight).T + c * found.bias, known) for c in (0.5, 2)]
    assert torch.nn.functional.cross_entropy(other @ found.weight.T + found.bias, known) < min(losses)


def test_where_no_image_is_wrong_probabilities_are_bounded() -> None:
    """Classes so far apart that the validation images alone would take any scale."""
    y = torch.arange(60) % 3
    x = torch.nn.functional.one_hot(y, 20) * 50 + torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    found = fit(x, y, x[:9], y[:9])
    probabilities = (x @ found.weight.T + found.bias).softmax(1)
    assert (probabilities.argmax(1) == y).all()
    assert probabilities.max(1).values.mean() == pytest.approx(1 - 1 / (60 + 9 + 2), abs=0.02)


def test_a_class_of_one_image_is_learned() -> None:
    x, y = problem(120)
    x = torch.cat([x[y != 2], x[y == 2][:1]])
    y = torch.cat([y[y != 2], y[y == 2][:1]])
    found = fit(x, y, *problem(60, seed=1))
    assert found.weight.isfinite().all()
    assert found.bias.isfinite().all()


def test_features_that_never_vary_do_no_harm() -> None:
    x, y = problem()
    x = torch.cat([x, torch.zeros(len(x), 5)], 1)
    found = fit(x, y, x, y)
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
    fitted, note = lda.fit_to_run(TrainingRun(recipe, CLASSES, model, source, train, validation))
    model.head.output.load_state_dict({"weight": fitted.weight, "bias": fitted.bias})
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
