"""One fine-tuning from start to end: a pack of pictures and a backbone in, a checkpoint file and its metrics out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models import backbones, checkpoint, surgery
from models.beginning import begin
from models.datasets.splits import split
from models.delivery import Delivery, delivered_logits, plain
from models.division import divided
from models.evaluation import evaluate, evaluate_multi_label
from models.events import EpochEnded, Event, Finished, Noted, PhaseStarted, RecipeResolved
from models.examples import Examples
from models.extraction import Extractor
from models.features import Features
from models.final_test import exact_where_near
from models.grafted import Grafted
from models.keeping import kept_classifier
from models.pretraining import Material, pretrain
from models.progress import Progress
from models.shortening import shorten
from models.training import Step, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from models.catalog.losses import Task
    from models.catalog.pictures import PictureAugmentation
    from models.catalog.recipe import Recipe
    from models.datasets.pack import Pack
    from models.feature_cache import FeatureCache
    from models.features import Source


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
    cache: FeatureCache
    checkpoint: Path
    """The file to write."""
    other: Pack | None = None
    """The pictures of the dataset that pretraining names."""
    other_classes: Sequence[str] = ()


def fine_tune(assignment: Assignment) -> Iterator[Event]:
    """Do it, and tell what happens; the last event is Finished.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    began = time.monotonic()
    yield PhaseStarted(phase="preparing", elapsed=0.0)
    run = _Run(assignment, began)
    yield RecipeResolved(recipe=run.recipe.model_dump(mode="json"))
    yield run.prepared()
    yield PhaseStarted(phase="caching", elapsed=time.monotonic() - began)
    yield from run.cache_plain_views()
    yield from run.make_head()
    yield RecipeResolved(recipe=run.recipe.model_dump(mode="json"))
    yield PhaseStarted(phase="training", elapsed=time.monotonic() - began)
    yield from run.train()
    yield PhaseStarted(phase="evaluating", elapsed=time.monotonic() - began)
    metrics = run.evaluate()
    yield PhaseStarted(phase="storing", elapsed=time.monotonic() - began)
    run.store(metrics)
    yield run.finished(metrics, time.monotonic() - began)


class _Run:
    def __init__(self, assignment: Assignment, began: float) -> None:
        self.assignment = assignment
        wanted, classes = assignment.recipe, assignment.classes
        budget = wanted.time_budget_seconds
        self._deadline = math.inf if budget is None else began + budget
        self.backbone = backbones.load(assignment.backbone, assignment.backbones)
        self.backbone_digest = self.backbone.digest
        self._split()
        own = self.backbone.preprocessing
        side = own.side if wanted.image_size == "auto" else wanted.image_size
        self.preprocessing = own.at(side)
        self.kept = kept_classifier(self.backbone, classes) if wanted.head.kind == "keep" else None
        self._operate()
        self.recipe = wanted.resolve(
            task=self.task,
            image_size=side,
            num_features=self.pooled.num_features,
            class_counts=dict(zip(classes, self._counts(), strict=True)),
            pictures=len(self.learn.pictures),
        )
        cache = assignment.cache if self.recipe.cache.mode == "on" else None
        self.extractor = Extractor(self.division, self.preprocessing, assignment.device, cache)
        # Of several labels all logits count, not the greatest alone.
        self.is_tested_exactly = cache is None or self.task == "multi_label" or self.recipe.precision == "exact"
        parts = (self.learn, self.validation, *(() if self.is_tested_exactly else (self.test,)))
        self.plain = np.concatenate([part.pictures for part in parts])
        self.engine = self.extractor.choose_engine(
            self.recipe.engine, self.recipe.precision, assignment.pack, self.plain
        )
        self.recipe = self.recipe.computed_by(self.engine.kind.engine, self.engine.kind.precision)
        self.features = self.extractor.features(assignment.pack, self.recipe.picture_augmentations)
        self.exact_features = self.extractor.exact(assignment.pack)

    def _split(self) -> None:
        pack, recipe = self.assignment.pack, self.assignment.recipe
        self.task: Task = "multi_label" if pack.is_multi_label else "single_label"
        labels = pack.targets(len(self.assignment.classes)) if pack.is_multi_label else pack.labels
        parts = split(pack.digests, labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
        self.learn, self.validation, self.test = (
            Examples(part, labels[part]) for part in (parts.train, parts.validation, parts.test)
        )

    def _operate(self) -> None:
        """Shorten the network, cut it, and part it."""
        network, size, wanted = self.backbone.network, self.preprocessing.input_size, self.assignment.recipe
        dropped = shorten(network, wanted.drop_stages, size) if wanted.drop_stages else []
        identity = {
            "architecture": self.backbone.architecture,
            "model_args": self.backbone.model_args,
            **({"dropped": dropped} if dropped else {}),
        }
        self.pooled = surgery.pooled(network, size, identity)
        self.division = divided(network, self.pooled, wanted.cut, size, identity)
        self.delivery = Delivery(network, self.pooled, wanted.head, dropped)

    def _counts(self) -> list[int]:
        """Pictures to train on, by class."""
        labels = self.learn.labels
        if self.task == "multi_label":
            return [int(count) for count in labels.sum(0)]
        return [int(count) for count in np.bincount(labels, minlength=len(self.assignment.classes))]

    def prepared(self) -> Noted:
        """What is going to be trained, in words."""
        sizes = {"train": self.learn, "validation": self.validation, "test": self.test}
        counts = {name: len(examples.labels) for name, examples in sizes.items()}
        stages = [stage.name for stage in self.division.stages]
        per_view = sum(counts.values()) * self.features.bytes_per_row
        kept = f"; a view of all takes {per_view / 1e6:,.1f} MB in the cache" if per_view else ""
        above = f", {', '.join(stages)} above it are trained" if stages else ""
        return Noted(
            kind="prepared",
            message=(
                f"{self.backbone.name}, cut at {self.division.cut}{above}, gives {self.pooled.num_features} features; "
                f"{counts['train']} pictures to train on, {counts['validation']} to validate on, "
                f"{counts['test']} to test on; computed by {self.engine.kind}: {self.engine.why}{kept}"
            ),
            data={
                "cut": self.division.cut,
                "stages": stages,
                "dropped": self.delivery.dropped,
                "num_features": self.pooled.num_features,
                **counts,
                "bytes_per_view": per_view,
                "engine": str(self.engine.kind),
                "engine_figures": self.engine.figures,
            },
        )

    def cache_plain_views(self) -> Iterator[Event]:
        """View 0 of every picture is needed anyway."""
        recipe, features = self.recipe, self.features
        assert isinstance(recipe.epochs, int)
        if not features.is_cached:
            to_train = recipe.epochs * len(self.learn.pictures)
            self.progress = Progress(to_train, to_train, self.division.share_above)
            return
        walks = [(features, self.plain)]
        if self.is_tested_exactly:
            walks.append((self.exact_features, self.test.pictures))
        missing = sum(walk.missing(pictures, 0) for walk, pictures in walks)
        views = range(1, min(recipe.cache.first, recipe.epochs - 1) + 1)
        missing += sum(features.missing(self.learn.pictures, view) for view in views)
        self.progress = Progress(missing, recipe.epochs * len(self.learn.pictures), self.division.share_above)
        self.progress.phase(steps=sum(-(-len(pictures) // walk.trunk.batch) for walk, pictures in walks))
        for walk, pictures in walks:
            before = walk.counts.misses
            for batch, _ in walk.batches(pictures, 0, walk.trunk.batch):
                yield from self.progress.step(len(batch), walk.counts.misses - before)
                before = walk.counts.misses

    def make_head(self) -> Iterator[Event]:
        """The head before its first step: it reads the plain views, and is pretrained."""
        recipe, classes = self.recipe, self.assignment.classes
        grafted = Grafted.of(recipe, len(classes), self.division, self.features, self.learn.pictures, self.kept)
        self.grafted = grafted
        if recipe.pretraining is not None:
            recipe = yield from pretrain(recipe, grafted, self._material())
        self.recipe = yield from begin(
            recipe, classes, grafted, self.features, self.learn, self.validation, self._deadline
        )
        self.training = Training(
            self.recipe, classes, grafted, self.features, self.learn, self.validation, self._deadline
        )

    def _material(self) -> Material:
        """What the new layers are pretrained with."""
        job = self.assignment

        def opened(augmentations: Sequence[PictureAugmentation]) -> Source:
            return self.extractor.features(job.other or job.pack, augmentations)

        if job.other is None:
            return Material(opened, self.learn, job.classes, self._deadline)
        everything = Examples(np.arange(len(job.other)), job.other.labels)
        return Material(opened, everything, job.other_classes, self._deadline)

    def train(self) -> Iterator[Event]:
        """Train on the cached views, or on new ones."""
        recipe = self.recipe
        assert isinstance(recipe.epochs, int)
        steps = recipe.epochs * recipe.steps(len(self.learn.pictures))
        self.progress.phase(steps=steps, epochs=recipe.epochs)
        for news in self.training.epochs():
            if isinstance(news, Step):
                yield from self.progress.step(news.pictures, news.computed, news.pictures)
                continue
            yield news
            if isinstance(news, Noted) and news.kind == "view_added":
                self.progress.more(self.features.missing(self.learn.pictures, news.data["view"]))
            if isinstance(news, EpochEnded):
                yield self.progress.epoch(news.epoch)
        if isinstance(self.features, Features) and any(self.features.space_of(view).full for view in (0, 1)):
            yield Noted(
                level="warning",
                kind="cache_full",
                message="The feature cache is full, its disk or its budget: this job kept its features in memory, "
                "later ones compute them again. Free some space in GRAFT_CACHE_DIR, or raise GRAFT_CACHE_BYTES.",
            )

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the best epoch: validation on cached features, the test as the delivered network judges it."""
        judge = {"single_label": evaluate, "multi_label": evaluate_multi_label}[self.task]
        classes = self.assignment.classes
        metrics = {
            "validation": judge(self.training.validation_logits(), self.validation.labels, classes),
            "test": None,
            "initial": {"validation_accuracy": self.training.initial_accuracy},
            "best_epoch": self.training.best_epoch,
        }
        layers = plain(self.grafted)
        self.delivery.put(layers)
        if len(self.test.pictures):
            metrics["test"] = judge(self._tested(layers), self.test.labels, classes)
        return metrics

    def _tested(self, layers: nn.Sequential) -> np.ndarray:
        """What the delivered network says about the test pictures, (n, C); the greatest logit is exact."""
        nearly, exactly = (
            partial(delivered_logits, self.grafted, layers, source) for source in (self.features, self.exact_features)
        )
        if self.is_tested_exactly:
            return exactly(self.test.pictures)
        return exact_where_near(nearly, exactly, self.test.pictures)

    def store(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint's file."""
        job, classes = self.assignment, self.assignment.classes
        input_size = list(self.preprocessing.input_size)
        replaced = self.delivery.replaced()
        about = checkpoint.metadata(
            architecture=self.backbone.architecture,
            num_classes=len(classes),
            class_names=classes,
            task=self.task,
            pretrained_cfg={
                **self.backbone.pretrained_cfg,
                "input_size": input_size,
                "num_classes": len(classes),
                "label_names": classes,
            },
            model_args=self.backbone.model_args,
            **({"replaced": replaced} if replaced else {}),
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
