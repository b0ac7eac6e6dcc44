"""One fine-tuning from start to end: a pack of pictures and a backbone in, a checkpoint file and its metrics out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models import backbones, checkpoint, surgery
from models.datasets.splits import split
from models.evaluation import evaluate
from models.events import EpochEnded, Event, Finished, Noted, PhaseStarted, RecipeResolved
from models.features import open_features
from models.progress import Progress
from models.training import Examples, HeadTraining

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.catalog.recipe import Recipe
    from models.datasets.pack import Pack


@dataclass(frozen=True)
class Assignment:
    """What to fine-tune, on what, how, and where."""

    job: str
    pack: Pack
    classes: list[str]
    dataset_digest: str
    backbone: str
    backbones: Path | None
    """The directory of local backbones."""
    recipe: Recipe
    device: torch.device
    cache: Path
    checkpoint: Path
    """The file to write."""


def fine_tune(assignment: Assignment) -> Iterator[Event]:
    """Do it, and tell what happens; the last event is Finished.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    began = time.monotonic()
    yield PhaseStarted(phase="preparing", elapsed=0.0)
    run = _Run(assignment)
    yield RecipeResolved(recipe=run.recipe.model_dump(mode="json"))
    yield run.prepared()
    yield PhaseStarted(phase="caching", elapsed=time.monotonic() - began)
    yield from run.cache_plain_views()
    run.make_head()
    yield PhaseStarted(phase="training", elapsed=time.monotonic() - began)
    yield from run.train()
    yield PhaseStarted(phase="evaluating", elapsed=time.monotonic() - began)
    metrics = run.evaluate()
    yield PhaseStarted(phase="storing", elapsed=time.monotonic() - began)
    run.store(metrics)
    yield run.finished(metrics, time.monotonic() - began)


class _Run:
    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.backbone = backbones.load(assignment.backbone, assignment.backbones)
        self.backbone_digest = self.backbone.digest
        self._split()
        own = self.backbone.preprocessing
        side = own.side if assignment.recipe.image_size == "auto" else assignment.recipe.image_size
        self.preprocessing = own.at(side)
        identity = {"architecture": self.backbone.architecture, "model_args": self.backbone.model_args}
        self.pooled = surgery.pooled(self.backbone.network, self.preprocessing.input_size, identity)
        counts = np.bincount(self.learn.labels, minlength=len(assignment.classes)).tolist()
        self.recipe = assignment.recipe.resolve(
            image_size=side,
            num_features=self.pooled.num_features,
            class_counts=dict(zip(assignment.classes, counts, strict=True)),
        )
        self.features, self.exact_features = open_features(
            assignment.pack,
            self.pooled,
            self.preprocessing,
            self.recipe.augmentations,
            assignment.cache,
            assignment.device,
        )

    def _split(self) -> None:
        pack, recipe = self.assignment.pack, self.assignment.recipe
        labels = pack.labels
        parts = split(pack.digests, labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
        self.learn, self.validation, self.test = (
            Examples(part, labels[part]) for part in (parts.train, parts.validation, parts.test)
        )

    def prepared(self) -> Noted:
        """What is going to be trained, in words."""
        sizes = {"train": self.learn, "validation": self.validation, "test": self.test}
        counts = {name: len(examples.labels) for name, examples in sizes.items()}
        return Noted(
            kind="prepared",
            message=(
                f"{self.backbone.name}, cut at {self.pooled.cut}, gives {self.pooled.num_features} features; "
                f"{counts['train']} pictures to train on, {counts['validation']} to validate on, "
                f"{counts['test']} to test on"
            ),
            data={"cut": self.pooled.cut, "num_features": self.pooled.num_features, **counts},
        )

    def cache_plain_views(self) -> Iterator[Event]:
        """View 0 of every picture is needed anyway."""
        recipe, features, exact = self.recipe, self.features, self.exact_features
        assert isinstance(recipe.epochs, int)
        plain = np.concatenate([self.learn.pictures, self.validation.pictures])
        missing = features.missing(plain, 0) + exact.missing(self.test.pictures, 0)
        views = range(1, min(recipe.cache.views, recipe.epochs - 1) + 1)
        missing += sum(features.missing(self.learn.pictures, view) for view in views)
        self.progress = Progress(missing, to_read=recipe.epochs * len(self.learn.pictures))
        walks = [(features, plain), (exact, self.test.pictures)]
        self.progress.phase(steps=sum(-(-len(pictures) // walk.trunk.batch) for walk, pictures in walks))
        for walk, pictures in walks:
            before = walk.counts.misses
            for batch, _ in walk.batches(pictures, 0, walk.trunk.batch):
                yield from self.progress.step(len(batch), walk.counts.misses - before)
                before = walk.counts.misses

    def make_head(self) -> None:
        """The head before its first step; it reads the plain views."""
        classes, validation = self.assignment.classes, self.validation
        self.training = HeadTraining(self.recipe, classes, self.features, self.learn, validation)

    def train(self) -> Iterator[Event]:
        """Train the head on the cached views."""
        recipe = self.recipe
        assert isinstance(recipe.epochs, int)
        assert isinstance(recipe.batch_size, int)
        steps = recipe.epochs * -(-len(self.learn.pictures) // recipe.batch_size)
        self.progress.phase(steps=steps, epochs=recipe.epochs)
        for news in self.training.epochs():
            if isinstance(news, EpochEnded):
                yield news
                yield self.progress.epoch(news.epoch)
            else:
                yield from self.progress.step(news.pictures, news.computed)
        if self.features.space_of(0).full or self.features.space_of(1).full:
            yield Noted(
                level="warning",
                kind="cache_full",
                message="The disk of the feature cache is full: this job kept its features in memory, later ones "
                "compute them again. Free some space in GRAFT_CACHE_DIR.",
            )

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the best epoch: validation on cached features, the test as the delivered network sees it."""
        classes = self.assignment.classes
        weight, bias = self.training.classifier()
        self.pooled.classifier.become(weight, bias)
        metrics = {
            "validation": evaluate(self.training.validation_logits(), self.validation.labels, classes),
            "test": None,
            "initial": {"validation_accuracy": self.training.initial_accuracy},
            "best_epoch": self.training.best_epoch,
        }
        if len(self.test.pictures):
            features = torch.from_numpy(self.exact_features.all(self.test.pictures, 0))
            logits = torch.nn.functional.linear(features, weight, bias).numpy()
            metrics["test"] = evaluate(logits, self.test.labels, classes)
        return metrics

    def store(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint's file."""
        job, classes = self.assignment, self.assignment.classes
        input_size = list(self.preprocessing.input_size)
        about = checkpoint.metadata(
            architecture=self.backbone.architecture,
            num_classes=len(classes),
            class_names=classes,
            pretrained_cfg={
                **self.backbone.pretrained_cfg,
                "input_size": input_size,
                "num_classes": len(classes),
                "label_names": classes,
            },
            model_args=self.backbone.model_args,
            recipe=self.recipe.model_dump(mode="json"),
            metrics=metrics,
            dataset_digest=f"sha256:{job.dataset_digest}",
            counts={
                "train": len(self.learn.labels),
                "validation": len(self.validation.labels),
                "test": len(self.test.labels),
            },
            backbone=self.backbone.name,
            backbone_digest=f"sha256:{self.backbone_digest}",
            licence=self.backbone.licence or "unknown",
            job=job.job,
            seed=self.recipe.seed,
            device=job.device.type,
        )
        checkpoint.write(job.checkpoint, self.backbone.network.state_dict(), about)

    def finished(self, metrics: dict[str, Any], elapsed: float) -> Finished:
        """The last event."""
        counts = [self.features.counts, self.exact_features.counts]
        return Finished(
            stop_reason=self.training.stop_reason,
            epoch=self.training.best_epoch,
            classes=self.assignment.classes,
            metrics=metrics,
            cache={
                "hits": sum(count.hits for count in counts),
                "misses": sum(count.misses for count in counts),
                "saved_seconds": round(sum(count.saved_seconds for count in counts), 3),
            },
            elapsed=elapsed,
        )
