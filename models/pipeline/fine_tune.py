"""One fine-tuning from start to end: a pack of images and a backbone in, a checkpoint file and its metrics out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models.evaluation.exact_test import exact_where_near
from models.evaluation.metrics import evaluate, evaluate_multi_label
from models.features.sources import CachedFeatures
from models.features.standardization import Standardization
from models.messages import EpochEnded, Event, Finished, Noted, PhaseStarted, RecipeResolved
from models.pipeline import training_state
from models.pipeline.beginning import begin
from models.pipeline.merge_head import delivered_logits, plain
from models.pipeline.progress import Progress
from models.pipeline.setup import Preparation
from models.pipeline.snapshots import Snapshotter
from models.pretraining.pretrain import Material, pretrain
from models.runtime import checkpoint_file
from models.runtime.micro_batches import report_micro_batches
from models.runtime.stop_condition import StopCondition
from models.training.loop import Rest, Step, Training
from models.training.model import TrainableModel
from models.training.subset import Subset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from models.catalog.image_ops import ImageAugmentation
    from models.features.sources import FeatureSource
    from models.pipeline.spec import Assignment


def fine_tune(assignment: Assignment) -> Iterator[Event]:
    """Do it, and tell what happens; the last event is Finished.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    began = time.monotonic()
    yield PhaseStarted(phase="preparing", elapsed=0.0)
    resumed = None if assignment.snapshot is None else training_state.read(assignment.snapshot)
    ready = Preparation(assignment)
    yield RecipeResolved(recipe=ready.recipe.model_dump(mode="json"))
    yield ready.said()
    yield from ready.compromises()
    budget = assignment.recipe.time_budget_seconds
    spent = 0.0 if resumed is None else resumed["elapsed"]
    stop_condition = StopCondition(None if budget is None else began + budget - spent, assignment.is_stopped)
    run = _Run(ready, stop_condition, began - spent)
    yield PhaseStarted(phase="caching", elapsed=time.monotonic() - began)
    yield from run.cache_plain_views()
    yield from run.make_head(resumed)
    yield RecipeResolved(recipe=run.recipe.model_dump(mode="json"))
    yield PhaseStarted(phase="training", elapsed=time.monotonic() - began)
    yield from run.train()
    yield PhaseStarted(phase="evaluating", elapsed=time.monotonic() - began)
    metrics = run.evaluate()
    yield PhaseStarted(phase="storing", elapsed=time.monotonic() - began)
    run.store(metrics)
    yield run.finished(metrics, time.monotonic() - began)


class _Run:
    def __init__(self, ready: Preparation, stop_condition: StopCondition, began: float) -> None:
        self.ready, self.recipe, self._limit = ready, ready.recipe, stop_condition
        self._securing = Snapshotter(ready.assignment, began)

    def cache_plain_views(self) -> Iterator[Event]:
        """View 0 of every image is needed anyway."""
        ready, recipe, features = self.ready, self.recipe, self.ready.features
        assert isinstance(recipe.epochs, int)
        if not features.is_cached:
            to_train = recipe.epochs * len(ready.learn.images)
            self.progress = Progress(to_train, to_train, ready.cut_network.share_above)
            return
        walks = [(features, ready.plain)]
        if ready.is_tested_exactly:
            walks.append((ready.exact_features, ready.test.images))
        missing = sum(walk.missing(images, 0) for walk, images in walks)
        views = range(1, min(recipe.cache.first, recipe.epochs - 1) + 1)
        missing += sum(features.missing(ready.learn.images, view) for view in views)
        self.progress = Progress(missing, recipe.epochs * len(ready.learn.images), ready.cut_network.share_above)
        self.progress.phase(steps=sum(-(-len(images) // walk.trunk.batch) for walk, images in walks))
        for walk, images in walks:
            before = walk.counts.misses
            for batch, _ in walk.batches(images, 0, walk.trunk.batch):
                yield from self.progress.step(len(batch), walk.counts.misses - before)
                before = walk.counts.misses
                yield from self._securing.cached(walk)
            if walk.trunk.parts is not None and walk.trunk.parts.count > 1:
                yield report_micro_batches(walk.trunk.parts, walk.trunk.batch)

    def make_head(self, resumed: dict[str, Any] | None) -> Iterator[Event]:
        """The head before its first step, pretrained; or head and training as an earlier attempt left them."""
        ready, recipe, classes = self.ready, self.recipe, self.ready.assignment.classes
        known = None if resumed is None else Standardization(**resumed["standardization"])
        model = TrainableModel.of(
            recipe, len(classes), ready.cut_network, ready.features, ready.learn.images, ready.kept, known
        )
        parts = classes, model, ready.features, ready.learn, ready.validation, self._limit
        if resumed is None:
            if recipe.pretraining is not None:
                recipe = yield from pretrain(recipe, model, self._material())
            recipe = yield from begin(recipe, *parts)
        self.recipe, self.model = recipe, model
        self.training = Training(recipe, *parts, None if resumed is None else resumed["training"])
        if resumed is not None:
            done, steps = self.training.epochs_done, self.training.trained[0]
            message = f"Resumed after epoch {done}, step {steps}"
            yield Noted(kind="resumed_from_snapshot", message=message, data={"epoch": done, "step": steps})

    def _material(self) -> Material:
        """What the new layers are pretrained with."""
        ready, job = self.ready, self.ready.assignment

        def opened(augmentations: Sequence[ImageAugmentation]) -> FeatureSource:
            return ready.extractor.features(job.other or job.pack, augmentations)

        if job.other is None:
            return Material(opened, ready.learn, job.classes, self._limit)
        everything = Subset(np.arange(len(job.other)), job.other.labels)
        return Material(opened, everything, job.other_classes, self._limit)

    def train(self) -> Iterator[Event]:
        """Train on the cached views, or on new ones."""
        ready, recipe = self.ready, self.recipe
        assert isinstance(recipe.epochs, int)
        steps = recipe.epochs * recipe.steps(len(ready.learn.images))
        self.progress.phase(steps=steps, epochs=recipe.epochs)
        self.progress.resume(self.training.epochs_done, *self.training.trained)
        for news in self.training.epochs():
            if isinstance(news, Step):
                yield from self.progress.step(news.images, news.computed, news.images)
                yield from self._securing.trained(self.training)
                continue
            if isinstance(news, Rest):
                yield from self._securing.trained(self.training, ends_epoch=True)
                continue
            yield news
            if isinstance(news, Noted) and news.kind == "view_added":
                self.progress.more(ready.features.missing(ready.learn.images, news.data["view"]))
            if isinstance(news, EpochEnded):
                yield self.progress.epoch(news.epoch)
        if isinstance(ready.features, CachedFeatures) and any(ready.features.store_of(view).full for view in (0, 1)):
            yield Noted(
                level="warning",
                kind="cache_full",
                message="The feature cache is full, its disk or its budget: this job kept its features in memory, "
                "later ones compute them again. Free some space in GRAFT_CACHE_DIR, or raise GRAFT_CACHE_BYTES.",
            )

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the best epoch: validation on cached features, the test as the delivered network judges it."""
        ready = self.ready
        judge = {"single_label": evaluate, "multi_label": evaluate_multi_label}[ready.task]
        classes = ready.assignment.classes
        metrics = {
            "validation": judge(self.training.validation_logits(), ready.validation.labels, classes),
            "test": None,
            "initial": {"validation_accuracy": self.training.initial_accuracy},
            "best_epoch": self.training.best_epoch,
        }
        layers = plain(self.model)
        ready.delivery.put(layers)
        if len(ready.test.images):
            metrics["test"] = judge(self._tested(layers), ready.test.labels, classes)
        return metrics

    def _tested(self, layers: nn.Sequential) -> np.ndarray:
        """What the delivered network says about the test images, (n, C); the greatest logit is exact."""
        ready = self.ready
        nearly, exactly = (
            partial(delivered_logits, self.model, layers, source) for source in (ready.features, ready.exact_features)
        )
        if ready.is_tested_exactly:
            return exactly(ready.test.images)
        return exact_where_near(nearly, exactly, ready.test.images)

    def store(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint's file."""
        ready = self.ready
        job, classes = ready.assignment, ready.assignment.classes
        input_size = list(ready.preprocessing.input_size)
        replaced = ready.delivery.replaced()
        about = checkpoint_file.metadata(
            architecture=ready.backbone.architecture,
            num_classes=len(classes),
            class_names=classes,
            task=ready.task,
            pretrained_cfg={
                **ready.backbone.pretrained_cfg,
                "input_size": input_size,
                "num_classes": len(classes),
                "label_names": classes,
            },
            model_args=ready.backbone.model_args,
            **({"replaced": replaced} if replaced else {}),
            recipe=self.recipe.model_dump(mode="json"),
            metrics=metrics,
            dataset_digest=f"sha256:{job.dataset_digest}",
            counts={
                "train": len(ready.learn.labels),
                "validation": len(ready.validation.labels),
                "test": len(ready.test.labels),
            },
            backbone=ready.backbone.name,
            backbone_digest=f"sha256:{ready.backbone_digest}",
            licence=ready.backbone.licence or "unknown",
            job=job.job,
            seed=self.recipe.seed,
            device=job.device.type,
        )
        checkpoint_file.write(job.checkpoint, ready.feature_network.network.state_dict(), about)

    def finished(self, metrics: dict[str, Any], elapsed: float) -> Finished:
        """The last event."""
        ready = self.ready
        counts = [ready.features.counts, ready.exact_features.counts]
        return Finished(
            stop_reason=self.training.stop_reason,
            epoch=self.training.best_epoch,
            classes=ready.assignment.classes,
            metrics=metrics,
            cache={
                "hits": sum(count.hits for count in counts),
                "misses": sum(count.misses for count in counts),
                "saved_seconds": round(sum(count.saved_seconds for count in counts), 3),
            },
            elapsed=elapsed,
        )
