"""Time and memory of a million cached rows, opened, looked up and read in random batches: `make cache-index`.

Rows of random numbers are written once. Then a process opens them, looks all of them up, which checks them too, and
reads epochs of random batches as training does, in turns with the same batches out of one array in its memory. Memory
is what the process has for itself at its peak, more than before, and what it has mapped of the index files, which all
processes of a machine share. A core's time is what is left of the seconds where others use the machine too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.memory import PeakMemory, mapped_megabytes
from benchmarks.scale import PLAIN
from models.datasets.pack import RECORD, Pack
from models.features.cache import FeatureCache
from models.features.row_index import MISSING
from models.features.sources import CachedFeatures
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from models.runtime.tuning import TUNING

ROWS, NUMBERS, BATCH = 1_000_000, 64, 64
RUNS, EPOCHS = 5, 3
AT_ONCE = 4096
"""Rows per write to the cache."""


def main() -> None:
    """Measure in several processes, one after another, and print a table in Markdown."""
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
        _start("write", folder)
        runs = [json.loads(_start("measure", folder)) for _ in range(RUNS)]
    print(f"{describe()}\n\n{ROWS:,} rows of {NUMBERS} numbers, {RUNS} processes\n")
    print("| | median | least | most |\n|---|---|---|---|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | " + " | ".join(f"{of(values):.3g}" for of in (median, min, max)) + " |")


def write(folder: Path) -> None:
    """Random rows, and the index of a pack of as many images."""
    random = np.random.default_rng(0)
    records = np.zeros(ROWS, RECORD)
    records["digest"] = random.integers(0, 256, (ROWS, 32), np.uint8).view("V32")[:, 0]
    head = json.dumps({"names": []}).encode()
    (folder / "index").write_bytes(len(head).to_bytes(8, "little") + head + records.tobytes())
    (folder / "pack").write_bytes(b"x")
    store = _store(folder)
    with store.lock():
        for start in range(0, ROWS, AT_ONCE):
            digests = records["digest"][start : start + AT_ONCE]
            store.append(digests, 0, random.standard_normal((len(digests), NUMBERS), np.float32), 0.001)


def measure(folder: Path) -> dict[str, float]:
    """Seconds and megabytes of one process."""
    pack = Pack(folder / "pack", folder / "index")
    everything, order = np.arange(ROWS), np.random.default_rng(1).permutation(ROWS)
    with PeakMemory() as memory:
        began, began_computing = time.perf_counter(), time.process_time()
        store = _store(folder)
        opened = time.perf_counter()
        assert (store.find(pack.digests, 0) != MISSING).all()
        found, computing = time.perf_counter(), time.process_time() - began_computing
    trunk = Trunk(torch.nn.Identity(), PLAIN, torch.device("cpu"))
    source = CachedFeatures(pack, Views(PLAIN, ()), trunk, lambda _: store)
    array = source.read_all(everything, 0)
    pairs = [(_cached_epoch(source, order), _array_epoch(array, order)) for _ in range(EPOCHS)]
    cached, of_array = (min(seconds) for seconds in zip(*pairs, strict=True))
    return {
        "open, s": opened - began,
        "look up and check all, s": found - opened,
        "both, s": found - began,
        "both, s of one core's time": computing,
        "memory of its own, MB": memory.megabytes,
        "mapped of index files, MB": mapped_megabytes(".index"),
        f"epoch of random batches of {BATCH}, s": cached,
        "the same out of one array, s": of_array,
        "against the array": cached / of_array,
    }


def _store(folder: Path) -> FeatureStore:
    return FeatureStore(FeatureCache(folder / "cache"), {}, (NUMBERS,), np.dtype(np.float16))


def _cached_epoch(source: CachedFeatures, order: np.ndarray) -> float:
    began = time.perf_counter()
    for _ in source.read_batches(order, 0, BATCH):
        pass
    return time.perf_counter() - began


def _array_epoch(array: np.ndarray, order: np.ndarray) -> float:
    began = time.perf_counter()
    for start in range(0, ROWS, BATCH):
        array[order[start : start + BATCH]]
    return time.perf_counter() - began


def _start(part: str, folder: str) -> str:
    command = [sys.executable, "-m", "benchmarks.cache_index", part, folder]
    return subprocess.run(command, env={**os.environ, **TUNING}, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        json.dump(measure(Path(sys.argv[2])), sys.stdout)
