"""Fine-tune a backbone: a pack of images in, a checkpoint file and its metrics out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from models.messages import CheckpointWritten, Finished, Noted, PhaseStarted
from models.pipeline import state_file
from models.pipeline.checkpoints import evaluate_weights, write_checkpoint, write_kept
from models.pipeline.ladder import climb
from models.pipeline.snapshots import Pace, Snapshotter
from models.pipeline.train_recipe import Inputs, train_recipe
from models.runtime.stop_condition import StopCondition
from models.runtime.supervisor_callbacks import Context

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.messages import Event
    from models.pipeline.setup import Prepared
    from models.pipeline.spec import TrainingSpec
    from models.training.loop import Training


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
    state = yield from read_snapshot(spec.snapshot)
    earlier = state["elapsed"] if state else 0.0
    budget = spec.recipe.budget_seconds
    until = None if budget is None else began + budget - earlier
    inputs = Inputs(
        spec,
        pack,
        other_pack,
        context,
        Snapshotter(spec.checkpoint, Pace(spec.snapshot_seconds, context.snapshot_requested), began - earlier),
        StopCondition(until, context.stop_requested),
        began,
    )
    is_ladder = spec.recipe.quality != "fast" or (state is not None and "ladder" in state)
    trained = yield from (climb if is_ladder else train_recipe)(inputs, state)
    ready, training = trained.ready, trained.training

    yield PhaseStarted(phase="evaluating", elapsed=time.monotonic() - began)
    yield from write_kept_epochs(spec, training, ready)
    evaluated = evaluate_weights(training, ready, spec.checkpoint)

    yield PhaseStarted(phase="storing", elapsed=time.monotonic() - began)
    write_checkpoint(spec, training, ready, evaluated, spec.checkpoint)
    counts = [source.counts for source in trained.sources]
    yield Finished(
        stop_reason=trained.stop_reason,
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


def read_snapshot(snapshot: Path | None) -> Generator[Noted, None, dict[str, Any] | None]:
    """Read the training snapshot to resume from; if it cannot be read, report so and start over."""
    if snapshot is None:
        return None
    try:
        state: dict[str, Any] = state_file.read(snapshot)
    except state_file.StateUnreadable as error:
        message = f"The snapshot cannot be read: {error}; training starts over"
        yield Noted(level="warning", kind="snapshot_unreadable", message=message)
        return None
    return state


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
