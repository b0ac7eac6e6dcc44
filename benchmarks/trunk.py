"""The trunk alone, the floor of every cold job: `python -m benchmarks.trunk local/NAME` prints pictures a second."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from models import backbones, surgery
from models.trunk import Trunk

ROOT = Path(__file__).parents[1]
BACKBONES = Path(os.environ.get("GRAFT_BACKBONES", ROOT / "demo" / "backbones"))
SECONDS = 5.0


def rate(backbone: str) -> float:
    """Pictures a second through the trunk on all cores; they lie decoded and rendered in memory."""
    loaded = backbones.load(backbone, BACKBONES)
    size = loaded.preprocessing.input_size
    trunk = Trunk(surgery.pooled(loaded.network, size, {}).trunk, loaded.preprocessing, torch.device("cpu"))
    pictures = np.random.default_rng(0).integers(0, 256, (trunk.batch, *size), np.uint8)
    trunk(pictures)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        trunk(pictures)
        done += trunk.batch
    return done / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trunk", description=__doc__)
    parser.add_argument("backbone", nargs="?", default="local/rendered_shapes")
    print(f"{rate(parser.parse_args().backbone):.1f}")


if __name__ == "__main__":
    main()
