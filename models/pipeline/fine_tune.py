"""Fine-tune a backbone: a pack of images in, a checkpoint file and its metrics out."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.sources import CachedFeatures
from models.features.standardization import Standardization
from models.messages import CheckpointWritten, EpochEnded, Finished, Noted, PhaseStarted, RecipeResolved
from models.pipeline import state_file
from models.pipeline.checkpoints import evaluate_weights, write_checkpoint, write_kept
from models.pipeline.probe import start_from_probe
from models.pipeline.progress import Progress
from models.pipeline.setup import build_run, prepare
from models.pipeline.setup_report import describe, report_limits
from models.pipeline.snapshots import Pace, Snapshotter
from models.pretraining.pretrain import Material, pretrain
from models.runtime.micro_batches import report_micro_batches
from models.runtime.stop_condition import StopCondition
from models.runtime.supervisor_callbacks import Context
from models.training.inputs import Subset
from models.training.loop import EpochComplete, Step, Training
from models.training.start import start_training

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from models.datasets.pack import Pack
    from models.features.sources import FeatureSource
    from models.messages import Event
    from models.pipeline.setup import Prepared
    from models.pipeline.spec import TrainingSpec


def fine_tune(
    spec: TrainingSpec, pack: Pack, context: Context | None = None, other_pack: Pack | None = None
) -> Iterator[Event]:
    """Fine-tune a backbone by a training spec; yields events, of which the last is Finished.

    Args:
        spec: what to do.
        pack: the spec's dataset, opened.
        context: heartbeats, and requests of a supervisor.
        other_pack: the spec's other dataset, opened.

    Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    began, context = time.monotonic(), context or Context()

    yield PhaseStarted(phase="preparing", elapsed=0.0)
    state = yield from read_snapshot(spec)
    ready = prepare(spec, pack, context)
    if state:
        ready = replace(ready, probe=None)  # its head is in the snapshot, and its features are needed no more
    recipe = ready.recipe
    yield RecipeResolved(recipe=recipe.model_dump(mode="json"))
    yield describe(ready)
    yield from report_limits(ready)
    earlier = state["elapsed"] if state else 0.0
    budget = recipe.time_budget_seconds
    until = None if budget is None else began + budget - earlier
    stop_condition = StopCondition(until, context.stop_requested)
    snapshotter = Snapshotter(spec.checkpoint, Pace(spec.snapshot_seconds, context.snapshot_requested), began - earlier)

    yield PhaseStarted(phase="caching", elapsed=time.monotonic() - began)
    progress = plan(ready)
    yield from cache_features(ready, progress, snapshotter)
    if state:
        run = build_run(spec, ready, ready, stop_condition, Standardization(**state["standardization"]))
        training = Training(run, state["training"])
        epoch, step = training.epochs_done, training.done[0]
        message = f"Resumed after epoch {epoch}, step {step}"
        yield Noted(kind="resumed_from_snapshot", message=message, data={"epoch": epoch, "step": step})
    elif ready.probe is not None:
        training = yield from start_from_probe(spec, ready, stop_condition, progress, snapshotter)
    else:
        run = build_run(spec, ready, ready, stop_condition)
        if recipe.pretraining is not None:
            run = yield from pretrain(run, choose_material(spec, pack, other_pack, ready))
        training = yield from start_training(run)
    recipe = training.recipe
    yield RecipeResolved(recipe=recipe.model_dump(mode="json"))

    yield PhaseStarted(phase="training", elapsed=time.monotonic() - began)
    yield from train(training, ready, progress, snapshotter)

    yield PhaseStarted(phase="evaluating", elapsed=time.monotonic() - began)
    yield from write_kept_epochs(spec, training, ready)
    evaluated = evaluate_weights(training, ready, spec.checkpoint)

    yield PhaseStarted(phase="storing", elapsed=time.monotonic() - began)
    write_checkpoint(spec, training, ready, evaluated, spec.checkpoint)
    counts = [ready.features.counts, ready.exact_features.counts]
    if ready.probe is not None:
        counts.append(ready.probe.features.counts)
    if ready.teacher is not None:
        counts.append(ready.teacher.logits.counts)
    yield Finished(
        stop_reason=training.stop_reason,
        epoch=training.best_epoch,
        classes=spec.dataset.classes,
        metrics=evaluated.metrics,
        cache={
            "hits": sum(count.hits for count in counts),
            "misses": sum(count.misses for count in counts),
            "saved_seconds": round(sum(count.saved_seconds for count in counts), 3),
        },
        elapsed=time.monotonic() - began,
    )


def read_snapshot(spec: TrainingSpec) -> Generator[Noted, None, dict[str, Any] | None]:
    """Read the training snapshot to resume from; if it cannot be read, report so and start over."""
    if spec.snapshot is None:
        return None
    try:
        state: dict[str, Any] = state_file.read(spec.snapshot)
    except state_file.StateUnreadable as error:
        message = f"The snapshot cannot be read: {error}; training starts over"
        yield Noted(level="warning", kind="snapshot_unreadable", message=message)
        return None
    return state


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


def list_plain_views(ready: Prepared) -> list[tuple[FeatureSource, np.ndarray]]:
    """List the plain views that every fine-tuning needs, as far as they are cached."""
    needed = [] if ready.probe is None else [(ready.probe.features, ready.probe.images_to_cache)]
    if ready.teacher is not None:
        needed.append((ready.teacher.logits, ready.train.images))
    if ready.features.is_cached:
        needed.append((ready.features, ready.images_to_cache))
        if ready.is_tested_exactly:
            needed.append((ready.exact_features, ready.test.images))
    return needed


def cache_features(ready: Prepared, progress: Progress, snapshotter: Snapshotter) -> Iterator[Event]:
    """Compute the features of plain views that the cache lacks."""
    needed = list_plain_views(ready)
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


def write_kept_epochs(spec: TrainingSpec, training: Training, ready: Prepared) -> Iterator[CheckpointWritten | Noted]:
    """Write the checkpoints that the recipe keeps beside the best; the model then has the selected weights again."""
    kept = training.kept.list_epochs(training.best_epoch)
    for epoch in kept:
        yield write_kept(spec, training, ready, epoch)
    if kept:
        training.use_weights(training.selection.state)
    if training.kept.dropped:
        improved = training.kept.dropped + len(kept)
        yield Noted(
            kind="improvements_dropped",
            message=f"Of {improved} epochs that were the best before a later one, the newest {len(kept)} are kept",
            data={"kept": len(kept), "dropped": training.kept.dropped},
        )
