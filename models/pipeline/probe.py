"""Linear probing before fine-tuning (LP-FT): the head is trained alone first, on the frozen backbone's cached features.

A new head's first gradients distort pretrained stages, most of all where the new images are unlike those of the
pretraining (Kumar et al., 2022, arXiv:2202.10054); a trained head's are small. Features are computed once, so that this
costs as much as a job that trains a head alone, and next to nothing where there was such a job.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from models.messages import Noted
from models.pipeline.setup import build_run
from models.training.class_priors import initialize_bias
from models.training.loop import Step, Training
from models.training.lr_range_test import resolve_rate
from models.training.start import start_training

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.messages import Event
    from models.pipeline.progress import Progress
    from models.pipeline.setup import Prepared
    from models.pipeline.snapshots import Snapshotter
    from models.pipeline.spec import TrainingSpec
    from models.runtime.stop_condition import StopCondition


def start_from_probe(
    spec: TrainingSpec,
    ready: Prepared,
    stop_condition: StopCondition,
    progress: Progress,
    snapshotter: Snapshotter,
) -> Generator[Event, None, Training]:
    """Train the head alone, and return the training of stages that starts there, before its first step.

    The learning rate of the stages, where the recipe leaves it open, is found on the same features. Raises
    TrainingDiverged.
    """
    began, probe = time.monotonic(), ready.probe
    assert probe is not None
    run = build_run(spec, ready, probe, stop_condition)
    initialize_bias(run)
    recipe = resolve_rate(replace(run, recipe=ready.recipe)).recipe
    training = yield from start_training(run)
    for event in training.train():
        if isinstance(event, Step):
            yield from progress.count_step(event.images, event.computed)
            yield from snapshotter.save_features(probe.features)
    reached = training.selection.figures
    yield Noted(
        kind="probe_trained",
        message=f"The head alone, on the frozen backbone, classifies {reached['validation_accuracy']:.1%} of the "
        f"validation images correctly, after {training.epochs_done} epochs; from here stages are trained with it",
        data={**reached, "epochs": training.epochs_done, "seconds": round(time.monotonic() - began, 3)},
    )
    stages = build_run(spec, ready, ready, stop_condition, run.model.standardize)
    stages.model.head.load_state_dict(run.model.head.state_dict())
    return Training(replace(stages, recipe=recipe))
