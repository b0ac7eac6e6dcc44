"""One fine-tuning from start to end: a pack of pictures and a backbone in, a checkpoint file and its metrics out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models import checkpoint, snapshot
from models.beginning import begin
from models.delivery import delivered_logits, plain
from models.evaluation import evaluate, evaluate_multi_label
from models.events import EpochEnded, Event, Finished, Noted, PhaseStarted, RecipeResolved
from models.examples import Examples
from models.features import Features
from models.final_test import exact_where_near
from models.grafted import Grafted
from models.limit import Limit
from models.parts import said_of_parts
from models.preparation import Preparation
from models.pretraining import Material, pretrain
from models.progress import Progress
from models.securing import Securing
from models.standardization import Standardization
from models.training import Rest, Step, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from models.assignment import Assignment
    from models.catalog.pictures import PictureAugmentation
    from models.features import Source


def fine_tune(assignment: Assignment) -> Iterator[Event]:
    """Do it, and tell what happens; the last event is Finished.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    began = time.monotonic()
    yield PhaseStarted(phase="preparing", elapsed=0.0)
    resumed = None if assignment.snapshot is None else snapshot.read(assignment.snapshot)
    ready = Preparation(assignment)
    yield RecipeResolved(recipe=ready.recipe.model_dump(mode="json"))
    yield ready.said()
    yield from ready.compromises()
    budget = assignment.recipe.time_budget_seconds
    spent = 0.0 if resumed is None else resumed["elapsed"]
    limit = Limit(None if budget is None else began + budget - spent, assignment.is_stopped)
    run = _Run(ready, limit, began - spent)
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
    def __init__(self, ready: Preparation, limit: Limit, began: float) -> None:
        self.ready, self.recipe, self._limit = ready, ready.recipe, limit
        self._securing = Securing(ready.assignment, began)

    def cache_plain_views(self) -> Iterator[Event]:
        """View 0 of every picture is needed anyway."""
        ready, recipe, features = self.ready, self.recipe, self.ready.features
        assert isinstance(recipe.epochs, int)
        if not features.is_cached:
            to_train = recipe.epochs * len(ready.learn.pictures)
            self.progress = Progress(to_train, to_train, ready.division.share_above)
            return
        walks = [(features, ready.plain)]
        if ready.is_tested_exactly:
            walks.append((ready.exact_features, ready.test.pictures))
        missing = sum(walk.missing(pictures, 0) for walk, pictures in walks)
        views = range(1, min(recipe.cache.first, recipe.epochs - 1) + 1)
        missing += sum(features.missing(ready.learn.pictures, view) for view in views)
        self.progress = Progress(missing, recipe.epochs * len(ready.learn.pictures), ready.division.share_above)
        self.progress.phase(steps=sum(-(-len(pictures) // walk.trunk.batch) for walk, pictures in walks))
        for walk, pictures in walks:
            before = walk.counts.misses
            for batch, _ in walk.batches(pictures, 0, walk.trunk.batch):
                yield from self.progress.step(len(batch), walk.counts.misses - before)
                before = walk.counts.misses
                yield from self._securing.cached(walk)
            if walk.trunk.parts is not None and walk.trunk.parts.count > 1:
                yield said_of_parts(walk.trunk.parts, walk.trunk.batch)

    def make_head(self, resumed: dict[str, Any] | None) -> Iterator[Event]:
        """The head before its first step, pretrained; or head and training as an earlier attempt left them."""
        ready, recipe, classes = self.ready, self.recipe, self.ready.assignment.classes
        known = None if resumed is None else Standardization(**resumed["standardization"])
        grafted = Grafted.of(
            recipe, len(classes), ready.division, ready.features, ready.learn.pictures, ready.kept, known
        )
        parts = classes, grafted, ready.features, ready.learn, ready.validation, self._limit
        if resumed is None:
            if recipe.pretraining is not None:
                recipe = yield from pretrain(recipe, grafted, self._material())
            recipe = yield from begin(recipe, *parts)
        self.recipe, self.grafted = recipe, grafted
        self.training = Training(recipe, *parts, None if resumed is None else resumed["training"])
        if resumed is not None:
            done = self.training.epochs_done
            said = f"Goes on after epoch {done}, from where an earlier attempt was"
            yield Noted(kind="taken_up", message=said, data={"epoch": done})

    def _material(self) -> Material:
        """What the new layers are pretrained with."""
        ready, job = self.ready, self.ready.assignment

        def opened(augmentations: Sequence[PictureAugmentation]) -> Source:
            return ready.extractor.features(job.other or job.pack, augmentations)

        if job.other is None:
            return Material(opened, ready.learn, job.classes, self._limit)
        everything = Examples(np.arange(len(job.other)), job.other.labels)
        return Material(opened, everything, job.other_classes, self._limit)

    def train(self) -> Iterator[Event]:
        """Train on the cached views, or on new ones."""
        ready, recipe = self.ready, self.recipe
        assert isinstance(recipe.epochs, int)
        steps = recipe.epochs * recipe.steps(len(ready.learn.pictures))
        self.progress.phase(steps=steps, epochs=recipe.epochs)
        self.progress.resume(self.training.epochs_done, *self.training.trained)
        for news in self.training.epochs():
            if isinstance(news, Step):
                yield from self.progress.step(news.pictures, news.computed, news.pictures)
                yield from self._securing.trained(self.training)
                continue
            if isinstance(news, Rest):
                yield from self._securing.trained(self.training, ends_epoch=True)
                continue
            yield news
            if isinstance(news, Noted) and news.kind == "view_added":
                self.progress.more(ready.features.missing(ready.learn.pictures, news.data["view"]))
            if isinstance(news, EpochEnded):
                yield self.progress.epoch(news.epoch)
        if isinstance(ready.features, Features) and any(ready.features.space_of(view).full for view in (0, 1)):
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
        layers = plain(self.grafted)
        ready.delivery.put(layers)
        if len(ready.test.pictures):
            metrics["test"] = judge(self._tested(layers), ready.test.labels, classes)
        return metrics

    def _tested(self, layers: nn.Sequential) -> np.ndarray:
        """What the delivered network says about the test pictures, (n, C); the greatest logit is exact."""
        ready = self.ready
        nearly, exactly = (
            partial(delivered_logits, self.grafted, layers, source) for source in (ready.features, ready.exact_features)
        )
        if ready.is_tested_exactly:
            return exactly(ready.test.pictures)
        return exact_where_near(nearly, exactly, ready.test.pictures)

    def store(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint's file."""
        ready = self.ready
        job, classes = ready.assignment, ready.assignment.classes
        input_size = list(ready.preprocessing.input_size)
        replaced = ready.delivery.replaced()
        about = checkpoint.metadata(
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
        checkpoint.write(job.checkpoint, ready.backbone.network.state_dict(), about)

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
