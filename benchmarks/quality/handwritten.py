"""Well-tuned fine-tuning of the whole network in plain PyTorch, as an expert of timm writes it by hand.

AdamW, one cycle, an exponential moving average of weights and BatchNorm statistics (both trained), label smoothing,
mild random crops, flips where they are allowed. The learning rate is the one of a grid that is most accurate on the
validation images; within a budget, as many rates are tried as there is time for enough epochs of.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from timm.utils import ModelEmaV2
from torch import nn

from benchmarks.quality.loading import build_augmentation, build_classifier, build_transform, load_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from PIL import Image

    from benchmarks.quality.cell import Cell
    from benchmarks.quality.loading import Transform

RATES = (1e-3, 3e-4, 3e-3)
OF_TRANSFORMERS = 0.2
"""Rates of transformers, as a multiple: they take smaller ones."""
EPOCHS, BATCH, WEIGHT_DECAY, SMOOTHING = 20, 32, 0.05, 0.1
LEAST_EPOCHS = 10
"""Fewer are given to no rate for the sake of another one."""
TIMED_STEPS = 6


class Trained(NamedTuple):
    """A trained network, and its validation accuracy."""

    validation: float
    rate: float
    logits: torch.Tensor
    """Of the test images."""


class Material(NamedTuple):
    """Images in memory, with the cell that they are of."""

    cell: Cell
    images: Sequence[Image.Image]
    labels: torch.Tensor


def run_handwritten(cell: Cell) -> tuple[np.ndarray, np.ndarray, str]:
    """Train at each rate; returns confidences, if right, of the test images by the best, and a note."""
    began = time.perf_counter()
    split, labels = cell.images.split, cell.images.labels
    material = Material(cell, load_images(cell.images.pack), torch.from_numpy(labels))
    scale = OF_TRANSFORMERS if "vit" in cell.backbone.name else 1.0
    rates, epochs = len(RATES), EPOCHS
    if cell.budget is not None:
        of_epoch = measure_epoch(material)
        rates, epochs = plan(cell.budget - (time.perf_counter() - began), of_epoch)
    trained = (train(material, rate * scale, epochs) for rate in RATES[:rates])
    best = max(trained, key=lambda one: one.validation)
    probabilities = best.logits.softmax(1).numpy()
    right = probabilities.argmax(1) == labels[split.test]
    return probabilities.max(1), right, f"lr = {best.rate:g} of {rates}, {epochs} epochs"


def plan(seconds: float, of_epoch: float) -> tuple[int, int]:
    """Plan how many rates are tried, and for how many epochs each, in some seconds."""
    epochs = max(1, int(seconds / of_epoch))
    rates = max(1, min(len(RATES), epochs // LEAST_EPOCHS))
    return rates, min(EPOCHS, epochs // rates)


def measure_epoch(material: Material) -> float:
    """Measure the seconds of an epoch, with its share of validation and test, by some steps that are thrown away."""
    cell, split = material.cell, material.cell.images.split
    backbone = cell.backbone.load(cell.image_size)
    network = build_classifier(backbone, len(cell.images.classes)).train()
    augment = build_augmentation(backbone.preprocessing, cell.can_flip)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATES[0])
    began = time.perf_counter()
    for batch in torch.split(torch.from_numpy(split.train)[: TIMED_STEPS * BATCH], BATCH):
        learn(material, network, optimizer, augment, batch)
    of_image = (time.perf_counter() - began) / min(TIMED_STEPS * BATCH, len(split.train))
    return of_image * (len(split.train) + (len(split.validation) + len(split.test)) / LEAST_EPOCHS)


def learn(
    material: Material,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    augment: Transform,
    batch: torch.Tensor,
) -> None:
    """Do one step on a batch, the indices of its images."""
    pixels = torch.stack([augment(material.images[image]) for image in batch.tolist()])
    loss = nn.functional.cross_entropy(network(pixels), material.labels[batch], label_smoothing=SMOOTHING)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def train(material: Material, rate: float, epochs: int) -> Trained:
    """Train a fresh copy of the pretrained network."""
    cell, split = material.cell, material.cell.images.split
    torch.manual_seed(cell.seed)
    backbone = cell.backbone.load(cell.image_size)
    network = build_classifier(backbone, len(cell.images.classes))
    steps = -(-len(split.train) // BATCH)
    averaged = ModelEmaV2(network, decay=min(0.99, 1 - 1 / (2 * steps)))
    augment = build_augmentation(backbone.preprocessing, cell.can_flip)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs, pct_start=0.25)
    for _ in range(epochs):
        network.train()
        order = torch.from_numpy(split.train)[torch.randperm(len(split.train))]
        for batch in torch.split(order, BATCH):
            if len(batch) > 1:  # BatchNorm needs two
                learn(material, network, optimizer, augment, batch)
            schedule.step()
            averaged.update(network)
    plain = build_transform(backbone.preprocessing)

    @torch.inference_mode()
    def compute_logits(chosen: np.ndarray) -> torch.Tensor:
        batches = [chosen[first : first + BATCH] for first in range(0, len(chosen), BATCH)]
        averaged.module.eval()
        found = [averaged.module(torch.stack([plain(material.images[image]) for image in batch])) for batch in batches]
        return torch.cat(found)

    validation = compute_logits(split.validation).argmax(1) == material.labels[split.validation]
    return Trained(float(validation.float().mean()), rate, compute_logits(split.test))
