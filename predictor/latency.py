"""Latency of a trunk: how long an image takes that comes alone, by the engine that answers requests."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from predictor.images import ImageInput, KnownFiles
from predictor.trunk import LoadedTrunk

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

    from models.datasets.pack import Pack
    from models.features.cache import FeatureCache
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork

IMAGES = 15
"""Most images that are measured, after one that has the engine compiled."""


def measure_latency(
    cut_network: CutNetwork,
    preprocessing: Preprocessing,
    device: torch.device,
    cache: FeatureCache,
    pack: Pack,
    images: np.ndarray,
    heartbeat: Callable[[], None],
) -> float:
    """Measure the median seconds from the file of an image to its features, over some images of a pack."""
    trunk = LoadedTrunk("", cut_network, preprocessing, device, cache)
    seconds = []
    for image in images[: IMAGES + 1]:
        heartbeat()
        data = pack.read_file(int(image))
        began = time.perf_counter()
        trunk.engine(ImageInput(data, pack.decoding, trunk.views, KnownFiles()).render()[None])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:] or seconds)
