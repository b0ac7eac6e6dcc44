"""Class priors: the share of each class in what training shows, and the output biases that state it.

A head that starts from the priors has nothing to learn about how often a class occurs. One that starts from equal
shares spends its first steps on that, and where classes are of very different sizes, its trials of learning rates too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from models.training.inputs import TrainingRun


def compute_class_shares(run: TrainingRun) -> torch.Tensor:
    """Compute the share of each class, (C,), in the images that training draws; of several labels, each counts."""
    targets, classes = torch.from_numpy(run.train.labels), len(run.classes)
    drawn = run.recipe.sampling.compute_probabilities(targets)
    if targets.ndim == 1:
        return targets.bincount(drawn, minlength=classes).float()
    return (drawn @ targets.double()).float()


def compute_class_weights(run: TrainingRun) -> torch.Tensor:
    """Compute the weight of each class, (C,), that the recipe gives it: by the loss, and by how often it is drawn."""
    weights = run.recipe.loss.build_weights(run.classes)
    weights = torch.ones(len(run.classes)) if weights is None else weights
    if run.recipe.sampling.kind == "shuffled" or run.train.labels.ndim == 2:
        return weights
    counts = torch.from_numpy(run.train.labels).bincount(minlength=len(run.classes))
    return weights * counts.sum() / (len(counts) * counts.clamp_min(1))


def compute_priors(run: TrainingRun) -> torch.Tensor:
    """Compute the priors, (C,), of one label an image: shares times the loss's class weights, divided by their sum."""
    shares, weights = compute_class_shares(run), run.recipe.loss.build_weights(run.classes)
    priors = shares if weights is None else shares * weights
    return priors / priors.sum()


def compute_prior_logits(run: TrainingRun) -> torch.Tensor:
    """Compute the logits, (C,), of the best predictor that sees no image: by the recipe's loss.

    Of one label an image: log prior. By binary cross entropy: log w·p/(1 - p), for the weight w and the share p of a
    class, of which half an image is taken to have it and half not to (Krichevsky & Trofimov, 1981).
    """
    if run.recipe.loss.kind != "binary_cross_entropy":
        return compute_priors(run).clamp_min(1e-6).log()
    images = len(run.train.images)
    shares = (compute_class_shares(run) * images + 0.5) / (images + 1)
    weights = run.recipe.loss.build_weights(run.classes)
    logits = shares.logit()
    return logits if weights is None else logits + weights.log()


def initialize_bias(run: TrainingRun) -> None:
    """Start the biases of a new output layer at the priors' logits; those of a kept classifier stay."""
    bias = run.model.head.output.bias
    if bias is not None and run.recipe.head.kind != "keep":
        with torch.no_grad():
            bias.copy_(compute_prior_logits(run))
