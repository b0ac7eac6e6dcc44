"""Costs of candidate recipes, against what a training and a checkpoint really take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from models.messages import EpochEnded
from models.pipeline.candidate_costs import measure_epoch_seconds, measure_latency
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import prepare
from models.pipeline.snapshots import Pace, Snapshotter
from models.pipeline.train_recipe import Inputs
from models.runtime.stop_condition import StopCondition
from models.runtime.supervisor_callbacks import Context
from tests.support.small_job import small_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.small_job import Job


def list_inputs(job: Job) -> Inputs:
    """Inputs of an attempt at a job."""
    snapshotter = Snapshotter(job.checkpoint, Pace(None), 0.0)
    return Inputs(job.spec, job.pack, None, Context(), snapshotter, StopCondition(), time.monotonic())


@pytest.mark.parametrize("probe", [False, True])
def test_an_epoch_is_timed_by_a_few_of_its_steps(probe: bool, tmp_path: Path) -> None:
    job = small_job(tmp_path, cut={"kind": "none", "probe": probe}, epochs=3, batch_size=8)
    before = sorted(tmp_path.iterdir())
    measured = measure_epoch_seconds(list_inputs(job))
    assert sorted(tmp_path.iterdir()) == before, "it leaves nothing behind"
    took = [event.seconds for event in fine_tune(*job) if isinstance(event, EpochEnded)]
    assert min(took) / 10 < measured < 10 * max(took)


def test_an_epoch_of_one_step_is_timed_by_that_step(tmp_path: Path) -> None:
    job = small_job(tmp_path, cut="none", epochs=3, batch_size=128)
    assert 0 < measure_epoch_seconds(list_inputs(job)) < 100


def test_an_answers_time_is_that_of_the_whole_network(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    ready = prepare(job.spec, job.pack, Context())
    assert 0 < measure_latency(ready) < 10
