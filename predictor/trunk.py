"""Trunk in memory: its engines, its rows in the feature cache, and the models above it.

One thread computes (`compute`); another may load models meanwhile.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.features.engines.eager import Eager
from models.features.engines.openvino import OpenVINO
from models.features.engines.selection import REFERENCE, EngineConfig, list_available
from models.features.trunk import Trunk
from models.images.views import Views
from predictor.head_matrix import HeadMatrix
from predictor.plan import Outputs, Plan
from predictor.rounding import Rounding
from predictor.rows import ENGINE, EXACT, CachedRows

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from models.features.cache import FeatureCache
    from models.features.store import FeatureStore
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork
    from predictor.heads import Model
    from predictor.images import ImageInput
    from predictor.structure import Structure

    Engine = Eager | OpenVINO

log = logging.getLogger(__name__)

MOST_PLANNED = 4096
"""Most models of all plans that are kept; one that was planned a thousand times with others has a thousand."""
FAST = EngineConfig("openvino", "float32")
"""Engine of processors, whatever the job's was: in bfloat16 the labels of many models are uncertain for nearly
all images, and computing those once more costs more than it saves (measured: 100 models 2.5 times as long as one)."""
BROKEN = "broken"
"""Kind of values that are not finite."""
ENOUGH = 64
"""Images from which on it shows whether the engine is worth its corrections."""


@dataclass(frozen=True)
class Computed:
    """Values at the cut of one image, and the kind of their rounding."""

    values: np.ndarray
    kind: str


class LoadedTrunk:
    """A trunk that is loaded, with its models."""

    def __init__(
        self,
        key: str,
        cut_network: CutNetwork,
        preprocessing: Preprocessing,
        device: torch.device,
        cache: FeatureCache,
    ) -> None:
        assert cut_network.trunk is not None
        self.key, self.device, self.preprocessing = key, device, preprocessing
        self.views = Views(preprocessing, (), exact=True)
        self.models: OrderedDict[str, Model] = OrderedDict()
        """By checkpoint, the least recently used first."""
        self.structures: dict[str, tuple[Structure, str]] = {}
        """By structure key, with the digest of the trunk's tensors in it."""
        self.trunk = Trunk(cut_network.trunk, preprocessing, device)
        self._exact: Eager = Eager(self.trunk.network, self.trunk.normalize, torch.float32)
        self.config = FAST if FAST in list_available(device) else REFERENCE
        self.engine, self.engine_of_many = self._build_engines(cut_network, cache)
        self._compiled: set[Engine] = set()
        self._compiling = Lock()
        self._rows = CachedRows(cache, cut_network, preprocessing, device, self.config)
        self._matrix: HeadMatrix | None = None
        self._plans: OrderedDict[tuple[Model, ...], Plan] = OrderedDict()
        """By their models, the least recently used first."""
        self._rounding: dict[str, Rounding] = {ENGINE: Rounding(device)}
        self._network_bytes = sum(int(tensor.nbytes) for tensor in cut_network.trunk.state_dict().values())
        self._fast_images = self._corrected = 0
        self._lock = Lock()

    def compile(self) -> None:
        """Compile the engines, which may take seconds; until one is, images are computed exactly."""
        with self._compiling:
            for engine in (self.engine, self.engine_of_many):
                if engine not in self._compiled:
                    engine(np.zeros((engine.batch_size, *self.preprocessing.input_size), np.uint8))
                    self._compiled.add(engine)

    def write_rows(self, *, all_rows: bool) -> None:
        """Write computed rows to the feature cache, after the answer, which need not wait: all, or those that are due.

        An error is logged: they are computed again then.
        """
        if not all_rows and not self._rows.are_due:
            return
        try:
            self._rows.write()
        except Exception:
            log.exception("rows of the feature cache cannot be written")

    def _build_engines(self, cut_network: CutNetwork, cache: FeatureCache) -> tuple[Engine, Engine]:
        """Build the engine of an image that comes alone, and that of several.

        The latter has each image computed by one core. Cores that compute one together wait for each other after each
        layer, and long where others use them too (measured: 16 images of mobilenetv2_100, 2 cores with 20 other
        processes, 58 against 119 ms an image, and 8.3 against 10.0 ms of the processor). Requests of several images
        take more of the processor: 8.3 ms an image for 4, 9.2 for 8, 7.2 for 1.
        """
        if self.config == REFERENCE:
            return self._exact, self._exact
        size, folder = self.preprocessing.input_size, cache.compiled_folder
        build = partial(OpenVINO, self.trunk.network, self.trunk.normalize, size, "float32", folder, cut_network.digest)
        return build(is_single=True), build(images_per_request=1)

    @property
    def size(self) -> int:
        """Bytes of the trunk, of its engines' copies, and of its models."""
        copies = len({self._exact, self.engine, self.engine_of_many})
        heads = 0 if self._matrix is None else self._matrix.bytes
        return copies * self._network_bytes + heads + sum(model.own_bytes for model in self.models.values())

    def place(self, model: Model) -> Model:
        """Place a model's head: a linear one on the trunk's own output goes into the matrix."""
        head = model.head
        if model.top is None and isinstance(head, torch.nn.Linear):
            if self._matrix is None:
                self._matrix = HeadMatrix(head.in_features, self.device)
            rows = self._matrix.add(head)
            model = replace(model, head=rows)
            # Not when it is removed: a request may have it still, and another head in its place would answer.
            weakref.finalize(model, self._matrix.release, rows).atexit = False
        return model

    def remove(self, checkpoint: str) -> None:
        """Remove a model; requests that already have it are still answered."""
        with self._lock:
            del self.models[checkpoint]
            self._plans.clear()

    def plan(self, models: tuple[Model, ...]) -> Plan:
        """Plan the computation for some models; plans are kept."""
        with self._lock:
            plan = self._plans.get(models)
            if plan is None:
                plan = self._plans[models] = Plan(models, self.device)
                while len(self._plans) > 1 and sum(map(len, self._plans)) > MOST_PLANNED:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(models)
        return plan

    def find_cached(self, digests: Set[bytes]) -> Set[bytes]:
        """Find the images whose values at the cut the feature cache has: their pixels are seldom needed."""
        return self._rows.find(digests).keys()

    def open_training_rows(self, config: EngineConfig, device: str) -> FeatureStore:
        """Open the rows of the feature cache on which a job with this engine was trained, on a device of this type."""
        resizer = Views(self.preprocessing, (), exact=config.precision == "exact").resizer
        return self._rows.open_training_rows(config, device, resizer)

    def compute_values(self, images: Sequence[ImageInput]) -> list[Computed]:
        """Compute the values at the cut of images: from the cache, or by the engine; new ones are cached."""
        by_digest = {image.digest: image for image in images}
        rows = self._rows.find(by_digest.keys())
        found = {digest: Computed(row.values, row.kind) for digest, row in rows.items()}
        found |= self._compute_missing({digest: image for digest, image in by_digest.items() if digest not in rows})
        return [found[image.digest] for image in images]

    @torch.inference_mode()
    def compute_outputs(self, plan: Plan, images: Sequence[ImageInput], computed: list[Computed]) -> Outputs:
        """Compute the outputs of a plan's models, with the labels of exact values."""
        values = np.stack([each.values for each in computed])
        is_finite = np.isfinite(values.reshape(len(values), -1)).all(1)
        values[~is_finite] = 0
        on_device = torch.from_numpy(values).to(self.device)
        logits = plan.compute(on_device)
        kinds = [each.kind if good else BROKEN for each, good in zip(computed, is_finite, strict=True)]
        uncertain = self._find_uncertain(plan, values, logits, kinds)
        if len(uncertain):
            for place in uncertain:
                exact = self._compute_exactly(images[place])
                is_finite[place] = np.isfinite(exact).all()
                if is_finite[place]:
                    self._rounding[computed[place].kind].add(values[place], exact)
                    values[place] = exact
            on_device = torch.from_numpy(values).to(self.device)
            corrected = plan.compute(on_device[uncertain])
            plan.refine(values[uncertain], corrected, self._list_bounds(plan, [EXACT] * len(uncertain)))
            for group, new in zip(logits, corrected, strict=True):
                group[uncertain] = new
        return Outputs(plan, logits, plan.measure_novelty(on_device), is_finite, values)

    def _find_uncertain(self, plan: Plan, values: np.ndarray, logits: list[np.ndarray], kinds: list[str]) -> list[int]:
        """Find the images whose values must be computed exactly; `logits` get as exact as the values are."""
        bounds = self._list_bounds(plan, kinds)
        leads = plan.refine(values, logits, bounds)
        is_uncertain = np.zeros(len(kinds), bool)
        for group, bound in zip(leads, bounds, strict=True):
            is_uncertain |= (group <= bound).any(1)
        # What is exact stays as it is, also where two classes are equally likely.
        is_rounded = np.array([kind in self._rounding for kind in kinds])
        is_known = np.array([kind in self._rounding and self._rounding[kind].is_known for kind in kinds])
        is_uncertain = (is_uncertain | ~is_known) & is_rounded
        is_counted = is_known & np.array([kind == ENGINE for kind in kinds])
        self._fast_images += int(is_counted.sum())
        self._corrected += int((is_counted & is_uncertain).sum())
        uncertain: list[int] = np.flatnonzero(is_uncertain).tolist()
        return uncertain

    def _list_bounds(self, plan: Plan, kinds: list[str]) -> list[np.ndarray]:
        """List by how much the leads of images of these kinds may be wrong, (images, models) of each group."""
        by_kind = {
            kind: rounding.find_bounds(plan)
            for kind, rounding in self._rounding.items()
            if kind in kinds and rounding.is_known
        }
        return [
            np.stack([by_kind[kind][number] if kind in by_kind else np.zeros(len(group.places)) for kind in kinds])
            for number, group in enumerate(plan.groups)
        ]

    def _compute_missing(self, missing: dict[bytes, ImageInput]) -> dict[bytes, Computed]:
        found: dict[bytes, Computed] = {}
        engine = self._choose_engine(len(missing))
        kind, digests = EXACT if engine is self._exact else ENGINE, list(missing)
        for first in range(0, len(digests), engine.batch_size):
            batch = digests[first : first + engine.batch_size]
            pixels = np.stack([missing[digest].render() for digest in batch])
            began = time.perf_counter()
            rows = engine(pixels)
            self._keep(kind, batch, rows, (time.perf_counter() - began) / len(batch))
            found |= {digest: Computed(row, kind) for digest, row in zip(batch, rows, strict=True)}
        return found

    def _choose_engine(self, count: int) -> Engine:
        """Choose the engine for some images: the exact one where most images of the fast ones were corrected."""
        is_worthwhile = self._fast_images < ENOUGH or self._corrected < self._fast_images / 2
        fast = self.engine_of_many if count > 1 and self.engine_of_many in self._compiled else self.engine
        return fast if is_worthwhile and fast in self._compiled else self._exact

    def _compute_exactly(self, image: ImageInput) -> np.ndarray:
        """Compute the values of one image exactly, as plain timm does for it alone."""
        began = time.perf_counter()
        rows = self._exact(image.render()[None])
        self._keep(EXACT, [image.digest], rows, time.perf_counter() - began)
        row: np.ndarray = rows[0]
        return row

    def _keep(self, kind: str, digests: list[bytes], rows: np.ndarray, seconds: float) -> None:
        """Keep rows for the cache; those that are not finite would be wrong for ever."""
        good = np.isfinite(rows.reshape(len(rows), -1)).all(1)
        self._rows.add(
            kind, [digest for digest, is_it in zip(digests, good, strict=True) if is_it], rows[good], seconds
        )
