"""Feature extraction: one trunk, the engine that computes it, and the cache of its output."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.features.engines.selection import REFERENCE, EngineChoice, EngineConfig, EngineSelector
from models.features.rendering import render_images
from models.features.row_index import MISSING
from models.features.sources import CachedFeatures, RenderedImages
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.catalog.image_ops import ImageAugmentation
    from models.datasets.pack import Pack
    from models.features.cache import FeatureCache
    from models.features.sources import FeatureSource
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork

HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)


class Extractor:
    """Extracts features of packs by one trunk; eagerly, in float32, until an engine is chosen."""

    def __init__(
        self,
        cut_network: CutNetwork,
        preprocessing: Preprocessing,
        device: torch.device,
        cache: FeatureCache | None,
        heartbeat: Callable[[], None] = no_heartbeat,
    ) -> None:
        """Move the trunk to the device; without a `cache`, or a trunk, sources render images anew each time."""
        self._heartbeat = heartbeat
        network = cut_network.trunk or torch.nn.Identity()
        self._cut_network, self._preprocessing = cut_network, preprocessing
        self._cache = None if cut_network.trunk is None else cache
        self._config = REFERENCE
        self._stores: dict[str, FeatureStore] = {}
        """Open stores by key: rows are looked up and checked once."""
        self._trunk, self._reference_trunk = (Trunk(network, preprocessing, device) for _ in range(2))

    def choose_engine(self, engine: str, precision: str, pack: Pack, images: np.ndarray) -> EngineChoice:
        """Choose the engine of all sources opened later: a recipe's, or on "auto" the fastest for these images."""
        if self._cache is None:
            config = EngineConfig("eager", "bfloat16") if precision == "bfloat16" else REFERENCE
            return EngineChoice(config, "features are not cached", {})
        size, digest = self._preprocessing.input_size, self._cut_network.digest
        selector = EngineSelector(self._reference_trunk, size, self._cache.compiled_folder, digest)
        configs = selector.list_configs(engine, precision)
        if configs:
            count_missing = partial(self._count_missing, pack.digests[images])
            choice = selector.choose(configs, count_missing, partial(self._render_sample, pack, images))
        else:  # a job must be able to resume on any machine
            choice = EngineChoice(REFERENCE, f"this machine has no engine {engine} that computes in {precision}", {})
        self._config = choice.config
        self._trunk.engine = selector.build(choice.config)
        return choice

    def open_source(self, pack: Pack, augmentations: Sequence[ImageAugmentation]) -> FeatureSource:
        """Open a pack's features for training: by the chosen engine, cached in half precision."""
        views = Views(self._preprocessing, augmentations, exact=self._config.precision == "exact")
        if self._cache is None:
            return RenderedImages(pack, views, self._trunk, self._heartbeat)
        plain = self._open_store(views, self._config, HALF)
        augmented = self._open_store(views, self._config, HALF, policy=views.policy.hex())
        return CachedFeatures(pack, views, self._trunk, lambda view: augmented if view else plain, self._heartbeat)

    def open_exact_source(self, pack: Pack) -> FeatureSource:
        """Open a pack's features of view 0 for testing: to the last digit those of the delivered network."""
        views = Views(self._preprocessing, (), exact=True)
        if self._cache is None:
            return RenderedImages(pack, views, self._reference_trunk, self._heartbeat)
        store = self._open_store(views, REFERENCE, SINGLE)
        return CachedFeatures(pack, views, self._reference_trunk, lambda _: store, self._heartbeat)

    def _count_missing(self, digests: np.ndarray, config: EngineConfig) -> int:
        """Count the images whose features of view 0 by an engine are not cached."""
        store = self._open_store(Views(self._preprocessing, ()), config, HALF)
        return int((store.find(digests, 0) == MISSING).sum())

    def _render_sample(self, pack: Pack, images: np.ndarray, count: int) -> np.ndarray:
        """Render view 0 of `count` images, drawn at random."""
        drawn = np.random.default_rng(0).permutation(images)[:count]
        views = Views(self._preprocessing, ())
        _, pixels = next(render_images(pack, views, drawn, 0, count, self._heartbeat))
        return pixels

    def _open_store(self, views: Views, config: EngineConfig, dtype: np.dtype[Any], **policy: str) -> FeatureStore:
        """Open the store of plain views, or of those by an augmentation policy."""
        assert self._cache is not None
        facts = name_rows(config, self._trunk.device.type, views.resizer, **policy)
        name = json.dumps([facts, dtype.str])
        if name not in self._stores:
            self._stores[name] = open_store(self._cache, self._cut_network, self._preprocessing, facts, dtype)
        return self._stores[name]


def name_rows(config: EngineConfig, device: str, resizer: str, **more: str) -> dict[str, str]:
    """Name what the rows of one trunk depend on beside it: the engine, on a type of device, and how images are resized.

    A difference between `exact` and `float32` is one of the resizer's.
    """
    precision = "float32" if config.precision == "exact" else config.precision
    return {"engine": f"{config.engine} {device}", "precision": precision, "resizer": resizer, **more}


def open_store(
    cache: FeatureCache,
    cut_network: CutNetwork,
    preprocessing: Preprocessing,
    facts: Mapping[str, str],
    dtype: np.dtype[Any],
) -> FeatureStore:
    """Open the store of a trunk's rows with these facts (`name_rows`)."""
    key = {"trunk": cut_network.digest, "cut": cut_network.cut, "preprocessing": preprocessing.to_dict(), **facts}
    return FeatureStore(cache, key, cut_network.shape, dtype)
