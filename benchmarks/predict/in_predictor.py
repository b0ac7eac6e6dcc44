"""Costs of models in the predictor alone: one image with 1, 10, … of them, and the memory that they take."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.predict.images import TIMES, make_fresh
from predictor.answers import choose_all, describe_image, make_all_sets
from predictor.head_matrix import Rows
from predictor.images import ImageInput, KnownFiles

if TYPE_CHECKING:
    from predictor.memory import ModelMemory
    from predictor.trunk import LoadedTrunk


def measure_models(memory: ModelMemory, checkpoints: list[str], sources: list[bytes]) -> None:
    """Measure one image with 1, 10, … models in the predictor, decoded there, and the memory that they take."""
    ((trunk, model, decoding),) = memory.get(checkpoints[:1])
    trunk.compile()
    fresh = iter(make_fresh(sources, 4 * (TIMES + 20)))
    _use(trunk, (model,), decoding, fresh, 20)  # all that one model needs is in memory then
    alone, before = memory.bytes, _read_resident()
    began = time.perf_counter()
    memory.get(checkpoints)
    seconds = time.perf_counter() - began
    print(f"{len(checkpoints):,} models were loaded in {seconds:.1f} s\n")
    print("| models asked at once | p50, ms | against one | as JSON beside, ms |\n|---|---|---|---|")
    first = 0.0
    for count in [count for count in (1, 10, 100, 1000) if count <= len(checkpoints)]:
        models = tuple(each for _, each, _ in memory.get(checkpoints[:count]))
        times, json_times = _use(trunk, models, decoding, fresh, TIMES)
        median = statistics.median(times)
        first = first or median
        beside = statistics.median(json_times)
        print(f"| {count:,} | {1000 * median:.2f} | {median / first:.2f} | {1000 * beside:.2f} |", flush=True)
    assert isinstance(model.head, Rows)
    features = model.head.block.weight.shape[1]
    heads = sum(4 * (features + 1) * len(each.classes) for _, each, _ in memory.get(checkpoints))
    grown = _read_resident() - before
    reading = _measure_reading(trunk, heads // 2)
    print(
        f"\nreading as many bytes as all heads in half precision ({heads / 2e6:.1f} MB), once, after the trunk: "
        f"{1000 * reading:.2f} ms, {heads / 2e9 / reading:.0f} GB/s; with one model that is {1 + reading / first:.2f}"
    )
    print(
        f"\ntrunk {alone / 1e6:.1f} MB, all heads {heads / 1e6:.1f} MB; all in the predictor "
        f"{memory.bytes / 1e6:.1f} MB, which is the trunk and {(memory.bytes - alone) / heads:.2f} × the heads; "
        f"the process grew by {grown / 1e6:.1f} MB, {grown / heads:.2f} × the heads",
        flush=True,
    )


def _use(trunk: LoadedTrunk, models: Any, decoding: Any, fresh: Any, times: int) -> tuple[list[float], list[float]]:
    computing, describing = [], []
    for _ in range(times):
        began = time.perf_counter()
        image = ImageInput(next(fresh), decoding, trunk.views, KnownFiles())
        image.prepare()
        computed = trunk.compute_values([image])
        plan = trunk.plan(models)
        outputs = trunk.compute_outputs(plan, [image], computed)
        chosen, sets = choose_all(outputs, 1), make_all_sets(outputs, 0.9)
        computing.append(time.perf_counter() - began)
        began = time.perf_counter()
        describe_image(outputs, chosen, sets, 0)
        describing.append(time.perf_counter() - began)
        trunk.write_rows(all_rows=False)
    return computing, describing


def _measure_reading(trunk: LoadedTrunk, size: int) -> float:
    """Measure the seconds to read some bytes of memory by all cores, just after the trunk has used the caches."""
    pixels = np.zeros((1, *trunk.preprocessing.input_size), np.uint8)
    read, times = torch.ones(size // 4), []
    for _ in range(TIMES):
        trunk.engine(pixels)
        began = time.perf_counter()
        read.sum()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _read_resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
