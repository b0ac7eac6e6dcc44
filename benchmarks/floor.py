"""Lower bound of a cold job: decoding alone and the trunk alone; `python -m benchmarks.floor DATASET local/NAME`.

Each is measured alone on all cores: first images are decoded and rendered, and nothing else; then one batch goes
through the trunk again and again, on the fastest engine of this machine. A processor that does both needs at least the
sum of both times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.material import BACKBONES
from models import backbones
from models.datasets.archives import Limits
from models.datasets.pack import Pack, write_index
from models.datasets.validation import validate
from models.features.engines.selection import EngineSelector
from models.features.rendering import render_images
from models.features.trunk import Trunk
from models.images.views import Views
from models.networks.feature_network import cut_before_classifier

SECONDS = 5.0


@dataclass(frozen=True)
class Floor:
    """Throughput of decoding and of the trunk, in images per second."""

    decoding: float
    trunk: float
    engine: str

    def compute_seconds(self, images: int) -> float:
        """Compute the time that decoding and the trunk need for this many images."""
        return images / self.decoding + images / self.trunk


def pack_dataset(folder: Path, dataset: Path) -> tuple[Pack, list[str]]:
    """Pack a dataset as the service does; return the pack and the classes."""
    with dataset.open("rb") as archive, (folder / "pack").open("wb") as pack:
        validated = validate(archive, pack, Limits(1 << 40, 1 << 30))
    with (folder / "index").open("wb") as index:
        write_index(index, validated.entries, validated.decoding)
    return Pack(folder / "pack", folder / "index"), [entry["name"] for entry in validated.classes]


def measure_floor(pack: Pack, backbone: str, folder: Path) -> Floor:
    """Measure both for some seconds each; `folder` is temporary."""
    loaded = backbones.load(backbone, BACKBONES)
    preprocessing = loaded.preprocessing
    size = preprocessing.input_size
    feature_network = cut_before_classifier(loaded.network, size, {})
    views = Views(preprocessing, ())
    order = np.random.default_rng(0).permutation(len(pack))
    began, done = time.perf_counter(), 0
    for images, pixels in render_images(pack, views, np.tile(order, 100), 0, 16):
        done, shown = done + len(images), pixels
        if time.perf_counter() - began > SECONDS:
            break
    decoding = done / (time.perf_counter() - began)
    trunk = Trunk(feature_network.trunk, preprocessing, torch.device("cpu"))
    selector = EngineSelector(trunk, size, folder, feature_network.digest)
    config = selector.list_configs("auto", "auto")[0]
    engine = selector.build(config)
    batch = shown[np.arange(engine.batch_size) % len(shown)]
    engine(batch)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        engine(batch)
        done += len(batch)
    return Floor(decoding, done / (time.perf_counter() - began), str(config))


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("backbone", nargs="?", default="local/rendered_shapes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        pack, _ = pack_dataset(Path(name), chosen.dataset)
        print(json.dumps(vars(measure_floor(pack, chosen.backbone, Path(name)))))


if __name__ == "__main__":
    main()
