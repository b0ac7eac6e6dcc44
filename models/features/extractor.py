"""Extraction of features: one trunk, the engine that computes it, and the cache that keeps what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.features.engines.selection import PLAIN, Choice, Engines, Kind
from models.features.row_index import MISSING
from models.features.sources import CachedFeatures, RenderedImages, rendered
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from models.runtime.context import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.catalog.image_ops import ImageAugmentation
    from models.datasets.pack import Pack
    from models.features.cache import FeatureCache
    from models.features.sources import FeatureSource
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork

HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)


class Extractor:
    """Gives the features of packs by one trunk; eagerly, in float32, until an engine is chosen."""

    def __init__(
        self,
        cut_network: CutNetwork,
        preprocessing: Preprocessing,
        device: torch.device,
        cache: FeatureCache | None,
        heartbeat: Callable[[], None] = no_heartbeat,
    ) -> None:
        """Without a `cache`, or a trunk, images are rendered and computed anew each time."""
        self._heartbeat = heartbeat
        network = cut_network.trunk or torch.nn.Identity()
        self._division, self._preprocessing = cut_network, preprocessing
        self._cache = None if cut_network.trunk is None else cache
        self._kind = PLAIN
        self._stores: dict[str, FeatureStore] = {}
        """Those that are open, by what they are of: rows are looked up and checked once."""
        self._trunk, self._plain_trunk = (Trunk(network, preprocessing, device) for _ in range(2))

    def choose_engine(self, engine: str, precision: str, pack: Pack, images: np.ndarray) -> Choice:
        """Have these images and all others computed as a recipe says, or, where it leaves it open, as is fastest."""
        if self._cache is None:
            kind = Kind("eager", "bfloat16") if precision == "bfloat16" else PLAIN
            return Choice(kind, "nothing is computed once", {})
        size, digest = self._preprocessing.input_size, self._division.digest
        engines = Engines(self._plain_trunk, size, self._cache.compiled, digest)
        views = Views(self._preprocessing, ())
        digests = pack.digests[images]

        def lacking(kind: Kind) -> int:
            return int((self._store(views, kind, HALF).find(digests, 0) == MISSING).sum())

        def sample(count: int) -> np.ndarray:
            drawn = np.random.default_rng(0).permutation(images)[:count]
            return next(rendered(pack, views, drawn, 0, count, self._heartbeat))[1]

        fitting = engines.fitting(engine, precision)
        if fitting:
            choice = engines.chosen(fitting, lacking, sample)
        else:  # a job goes on wherever it is taken up
            choice = Choice(PLAIN, f"this machine has no engine {engine} that computes in {precision}", {})
        self._kind = choice.kind
        self._trunk.engine = engines.built(choice.kind)
        return choice

    def features(self, pack: Pack, augmentations: Sequence[ImageAugmentation]) -> FeatureSource:
        """For training, kept in half precision."""
        views = Views(self._preprocessing, augmentations, exact=self._kind.precision == "exact")
        if self._cache is None:
            return RenderedImages(pack, views, self._trunk, self._heartbeat)
        plain = self._store(views, self._kind, HALF)
        augmented = self._store(views, self._kind, HALF, policy=views.policy.hex())
        return CachedFeatures(pack, views, self._trunk, lambda view: augmented if view else plain, self._heartbeat)

    def exact(self, pack: Pack) -> FeatureSource:
        """For testing, of view 0 alone: to the last digit what the delivered network computes."""
        views = Views(self._preprocessing, (), exact=True)
        if self._cache is None:
            return RenderedImages(pack, views, self._plain_trunk, self._heartbeat)
        store = self._store(views, PLAIN, SINGLE)
        return CachedFeatures(pack, views, self._plain_trunk, lambda _: store, self._heartbeat)

    def _store(self, views: Views, kind: Kind, dtype: np.dtype[Any], **policy: str) -> FeatureStore:
        """Where the cache keeps plain views, or those by a policy."""
        assert self._cache is not None
        key = {
            "trunk": self._division.digest,
            "cut": self._division.cut,
            "preprocessing": self._preprocessing.to_dict(),
            "resizer": views.resizer,
            "engine": f"{kind.engine} {self._trunk.device.type}",
            "precision": "float32" if kind.precision == "exact" else kind.precision,
            **policy,
        }
        name = json.dumps([key, dtype.str])
        if name not in self._stores:
            self._stores[name] = FeatureStore(self._cache, key, self._division.shape, dtype)
        return self._stores[name]
