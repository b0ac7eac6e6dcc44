"""Costs of candidate recipes: seconds of an epoch, seconds of an answer, bytes of the checkpoint."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.networks.types import as_module
from models.pipeline.merge_head import describe_network, merge_head, to_plain_layers
from models.pipeline.setup import build_run, prepare
from models.training.inputs import Subset
from models.training.loop import Step, Training

if TYPE_CHECKING:
    from models.pipeline.setup import Prepared
    from models.pipeline.train_recipe import Inputs
    from models.training.trainable_model import TrainableModel

STEPS, SECONDS = 6, 10.0
"""Steps by which an epoch is timed, and seconds after which no further one begins; the first only counts if alone."""
ANY_RATE = 1e-6
"""Learning rate of the steps that are timed, of which nothing is kept."""
FORWARD_SHARE = 1 / 3
"""Share of a training step's work that computing an image takes."""
ANSWERS = 5
"""Answers of which the median time is taken, after one that is not counted."""


def measure_epoch_seconds(inputs: Inputs) -> float:
    """Measure how long an epoch of the spec's recipe takes, validation included, by a few of its steps.

    Raises what a training raises.
    """
    spec = inputs.spec.model_copy(update={"recipe": inputs.spec.recipe.without_probe()})
    ready = prepare(spec, inputs.pack, inputs.context)
    images = ready.recipe.batch_size * STEPS
    timed = ready.recipe.with_rate(ANY_RATE)  # one that is still auto is found on all images
    few = replace(ready, recipe=timed, train=_take(ready.train, images), validation=_take(ready.validation, images))
    training = Training(build_run(spec, few, few, inputs.stop_condition))
    began, first, done = time.perf_counter(), 0, 0
    for event in training.train():
        inputs.context.heartbeat()
        if not isinstance(event, Step):
            break
        seconds = time.perf_counter() - began
        done += event.images
        per_image = seconds / (done - first)
        if not first:
            first, began = done, time.perf_counter()
        elif seconds > SECONDS:
            break
    return per_image * (len(ready.train.images) + FORWARD_SHARE * len(ready.validation.images))


def measure_latency(ready: Prepared) -> float:
    """Measure the seconds that the trained network takes for one image, in PyTorch's eager mode."""
    parameter = next(iter(ready.slot.network.parameters()))
    # A head is merged on the CPU, wherever the backbone is.
    network = as_module(ready.slot.network).eval().to(parameter.device)
    image = torch.zeros(1, 3, *ready.preprocessing.input_size[-2:], device=parameter.device, dtype=parameter.dtype)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + ANSWERS):
            began = time.perf_counter()
            network(image).sum().item()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def count_checkpoint_bytes(ready: Prepared, model: TrainableModel) -> int:
    """Count the bytes of the tensors of a checkpoint with this head, which is merged into the network."""
    merge_head(ready.slot, to_plain_layers(model))
    network, _ = describe_network(ready.slot)
    return sum(int(tensor.nbytes) for tensor in network.state_dict().values())


def _take(subset: Subset, count: int) -> Subset:
    """Take at most `count` images, from all over the subset."""
    places = np.linspace(0, len(subset.images) - 1, min(count, len(subset.images))).astype(int)
    return Subset(subset.images[places], subset.labels[places])
