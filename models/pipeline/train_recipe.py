"""Train by one recipe: set up, compute the features that the cache lacks, and train to the selected weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.features.sources import CachedFeatures
from models.features.standardization import Standardization
from models.messages import EpochEnded, Noted, PhaseStarted, RecipeResolved
from models.pipeline.adaptation import adapt
from models.pipeline.probe import start_from_probe
from models.pipeline.progress import Progress
from models.pipeline.setup import build_run, prepare
from models.pipeline.setup_report import describe, report_limits
from models.pretraining.pretrain import Material, pretrain
from models.runtime.micro_batches import report_micro_batches
from models.training.inputs import Subset
from models.training.loop import EpochComplete, Step, Training
from models.training.start import start_training

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from models.datasets.pack import Pack
    from models.features.sources import FeatureSource
    from models.messages import Event, StopReason
    from models.pipeline.setup import Prepared
    from models.pipeline.snapshots import Snapshotter
    from models.pipeline.spec import TrainingSpec
    from models.runtime.stop_condition import StopCondition
    from models.runtime.supervisor_callbacks import Context


@dataclass(frozen=True)
class Inputs:
    """Inputs of one attempt at a fine-tuning."""

    spec: TrainingSpec
    pack: Pack
    """The spec's dataset, opened."""
    other_pack: Pack | None
    """The spec's other dataset, opened."""
    context: Context
    snapshotter: Snapshotter
    stop_condition: StopCondition
    began: float
    """When this attempt began, by time.monotonic()."""


class Trained(NamedTuple):
    """A finished training, whose model has the selected weights."""

    ready: Prepared
    training: Training
    stop_reason: StopReason

    @property
    def sources(self) -> list[FeatureSource]:
        """All sources of features that it used."""
        probe = [] if self.ready.probe is None else [self.ready.probe.features]
        teacher = [] if self.ready.teacher is None else [self.ready.teacher.logits]
        return [self.ready.features, self.ready.exact_features, *probe, *teacher]


def train_recipe(inputs: Inputs, state: dict[str, Any] | None = None) -> Generator[Event, None, Trained]:
    """Train by the spec's recipe, from the first step or where a snapshot's `state` was taken.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    spec, snapshotter, began = inputs.spec, inputs.snapshotter, inputs.began
    ready = prepare(spec, inputs.pack, inputs.context)
    if state:
        # Its head is in the snapshot, and its features are needed no more.
        ready = replace(ready, probe=None, open_probe=None)
    yield RecipeResolved(recipe=ready.recipe.model_dump(mode="json"))
    yield describe(ready)
    yield from report_limits(ready)

    yield PhaseStarted(phase="caching", elapsed=time.monotonic() - began)
    progress = plan(ready)
    yield from cache_features(list_plain_views(ready), progress, snapshotter)
    if ready.recipe.cut.batch_norm == "adapted" and not state:
        yield from adapt(ready, progress)
        if ready.open_probe is not None:
            ready = replace(ready, probe=ready.open_probe(), open_probe=None)
            views = list_probe_views(ready)
            progress.add_work(sum(source.count_missing(images, 0) for source, images in views))
            yield from cache_features(views, progress, snapshotter)
    if state:
        training = load_training(inputs, ready, state)
        epoch, step = training.epochs_done, training.done[0]
        message = f"Resumed after epoch {epoch}, step {step}"
        yield Noted(kind="resumed_from_snapshot", message=message, data={"epoch": epoch, "step": step})
    elif ready.probe is not None:
        training = yield from start_from_probe(spec, ready, inputs.stop_condition, progress, snapshotter)
    else:
        run = build_run(spec, ready, ready, inputs.stop_condition)
        if ready.recipe.pretraining is not None:
            run = yield from pretrain(run, choose_material(spec, inputs.pack, inputs.other_pack, ready))
        training = yield from start_training(run)
    yield RecipeResolved(recipe=training.recipe.model_dump(mode="json"))

    yield PhaseStarted(phase="training", elapsed=time.monotonic() - began)
    yield from train(training, ready, progress, snapshotter)
    return Trained(ready, training, training.stop_reason)


def load_training(inputs: Inputs, ready: Prepared, state: dict[str, Any]) -> Training:
    """Load the training of a snapshot's state."""
    standardization = Standardization(**state["standardization"])
    return Training(build_run(inputs.spec, ready, ready, inputs.stop_condition, standardization), state["training"])


def plan(ready: Prepared) -> Progress:
    """Plan the work for progress reports: rows to compute and rows to train on."""
    recipe, train = ready.recipe, ready.train.images
    passes = 1 if recipe.sharpness is None else 2
    to_train = recipe.epochs * len(train)
    to_compute = sum(source.count_missing(images, 0) for source, images in list_plain_views(ready))
    if not ready.features.is_cached:
        return Progress(to_compute + to_train, to_train, passes * ready.cut_network.share_above)
    views = range(1, min(recipe.cache.first, recipe.epochs - 1) + 1)
    to_compute += sum(ready.features.count_missing(train, view) for view in views)
    return Progress(to_compute, to_train, passes * ready.cut_network.share_above)


def list_probe_views(ready: Prepared) -> list[tuple[FeatureSource, np.ndarray]]:
    """List the plain views that the probe needs."""
    return [] if ready.probe is None else [(ready.probe.features, ready.probe.images_to_cache)]


def list_plain_views(ready: Prepared) -> list[tuple[FeatureSource, np.ndarray]]:
    """List the plain views that every fine-tuning needs, as far as they are cached."""
    needed = list_probe_views(ready)
    if ready.teacher is not None:
        needed.append((ready.teacher.logits, ready.train.images))
    if ready.features.is_cached:
        needed.append((ready.features, ready.images_to_cache))
        if ready.is_tested_exactly:
            needed.append((ready.exact_features, ready.test.images))
    return needed


def cache_features(
    needed: list[tuple[FeatureSource, np.ndarray]], progress: Progress, snapshotter: Snapshotter
) -> Iterator[Event]:
    """Compute the features of plain views that the cache lacks."""
    progress.start_phase(steps=sum(-(-len(images) // source.trunk.batch_size) for source, images in needed))
    for source, images in needed:
        before = source.counts.misses
        for batch, _ in source.read_batches(images, 0, source.trunk.batch_size):
            yield from progress.count_step(len(batch), source.counts.misses - before)
            before = source.counts.misses
            yield from snapshotter.save_features(source)
        if source.trunk.micro_batches is not None and source.trunk.micro_batches.count > 1:
            yield report_micro_batches(source.trunk.micro_batches, source.trunk.batch_size)


def choose_material(spec: TrainingSpec, pack: Pack, other_pack: Pack | None, ready: Prepared) -> Material:
    """Choose the images for pretraining: the other dataset's, or the training images."""
    open_source = partial(ready.extractor.open_source, other_pack or pack)
    if other_pack is None or spec.other_dataset is None:
        return Material(open_source, ready.train, spec.dataset.classes)
    everything = Subset(np.arange(len(other_pack)), other_pack.labels)
    return Material(open_source, everything, spec.other_dataset.classes)


def train(training: Training, ready: Prepared, progress: Progress, snapshotter: Snapshotter) -> Iterator[Event]:
    """Train, report progress, and write snapshots."""
    recipe, features, images = training.recipe, ready.features, ready.train.images
    progress.start_phase(steps=recipe.epochs * recipe.count_steps(len(images)), epochs=recipe.epochs)
    progress.resume(training.epochs_done, *training.done)
    for event in training.train():
        match event:
            case Step():
                yield from progress.count_step(event.images, event.computed, event.images)
                yield from snapshotter.save_training(training)
            case EpochComplete():
                yield from snapshotter.save_training(training, ends_epoch=True)
            case EpochEnded():
                yield event
                yield progress.end_epoch(event.epoch)
            case Noted(kind="view_added"):
                yield event
                progress.add_work(features.count_missing(images, event.data["view"]))
            case _:
                yield event
    if isinstance(features, CachedFeatures) and any(features.get_store(view).is_full for view in (0, 1)):
        yield Noted(
            level="warning",
            kind="cache_full",
            message="The feature cache is full, its disk or its budget: this job kept its features in memory, "
            "later ones compute them again. Free some space in GRAFT_CACHE_DIR, or raise GRAFT_CACHE_BYTES.",
        )
