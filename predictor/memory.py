"""Models in the predictor's memory: loaded when first asked for; the least recently used trunk goes first."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from models.backbones.errors import BackboneError
from models.evaluation.prediction_statistics import StatisticsUnreadable
from models.features.cache import FeatureCache
from models.networks.image_sizes import InputSizeUnsupported
from models.networks.tracing import SurgeryError
from models.runtime import devices
from predictor.checkpoints import StoredCheckpoint
from predictor.errors import ModelUnloadable
from predictor.heads import Model, Top
from predictor.structure import find_structure
from predictor.trunk import LoadedTrunk
from service.checkpoints.errors import CheckpointDamaged, CheckpointNotFound
from service.locked_folder import lock_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from models.images.decode import Decoding
    from predictor.structure import Structure
    from service.database import Database
    from service.settings import Settings

    LoadedModel = tuple[LoadedTrunk, Model, Decoding]
    """A model with its trunk, and the rules by which its images are decoded."""

log = logging.getLogger(__name__)

NOT_LOADED = (
    BackboneError,
    SurgeryError,
    InputSizeUnsupported,
    MemoryError,
    RuntimeError,
    OSError,
    KeyError,
    ValueError,
)
"""Errors of a checkpoint that cannot be loaded here: of its network, its weights, or this machine."""


MARK_SECONDS = 1.0
"""Time for which models that are asked for together again need not be marked as used once more."""
MOST_SELECTIONS = 64
"""Most selections that are remembered; each may have a thousand models."""


class Together(NamedTuple):
    """Models whose input is the same, and their positions in the request."""

    trunk: LoadedTrunk
    decoding: Decoding
    models: tuple[Model, ...]
    places: list[int]


class Selection:
    """Models of a request, by what their input is."""

    def __init__(self, models: Sequence[LoadedModel]) -> None:
        places: dict[tuple[LoadedTrunk, Decoding], list[int]] = {}
        for place, (trunk, _, decoding) in enumerate(models):
            places.setdefault((trunk, decoding), []).append(place)
        self.count = len(models)
        self.together = [
            Together(trunk, decoding, tuple(models[place][1] for place in numbers), numbers)
            for (trunk, decoding), numbers in places.items()
        ]
        self.marked_at = 0.0


class ModelMemory:
    """All loaded trunks and models."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._device = devices.choose(settings.device)
        self._cache = FeatureCache(settings.cache, settings.cache_bytes)
        self._trunks: OrderedDict[str, LoadedTrunk] = OrderedDict()
        """By their digest and preprocessing, the least recently used first."""
        self._models: dict[str, LoadedModel] = {}
        self._selections: OrderedDict[tuple[str, ...], Selection] = OrderedDict()
        """Models that were asked for together, by their checkpoints, the least recently used first."""
        self._lock = threading.Lock()
        """Held for moments, while the dictionaries change."""
        self._loading = threading.Lock()
        """Held while models are loaded, one after another."""
        devices.compute_exactly()

    @property
    def bytes(self) -> int:
        """Bytes of all trunks and heads."""
        with self._lock:
            return self._sum_bytes()

    def _sum_bytes(self) -> int:
        return sum(trunk.size for trunk in self._trunks.values())

    def find(self, checkpoints: Sequence[str]) -> Selection | None:
        """Find models with their trunks, and mark them as used; None if some are not loaded."""
        key = tuple(checkpoints)
        with self._lock:
            selection = self._selections.get(key)
            if selection is not None:
                self._selections.move_to_end(key)
                if time.monotonic() - selection.marked_at < MARK_SECONDS:
                    return selection
            found = [self._models[checkpoint] for checkpoint in checkpoints if checkpoint in self._models]
            if len(found) < len(checkpoints):
                return None
            for trunk, model, _ in found:
                self._trunks.move_to_end(trunk.key)
                trunk.models.move_to_end(model.checkpoint)
            if selection is None:
                selection = self._selections[key] = Selection(found)
                if len(self._selections) > MOST_SELECTIONS:
                    self._selections.popitem(last=False)
            selection.marked_at = time.monotonic()
            return selection

    def get(self, checkpoints: Sequence[str]) -> list[LoadedModel]:
        """Get models with their trunks, and load those that are not there, which takes long.

        Raises ModelUnloadable.
        """
        with self._loading:
            found = [self._models.get(checkpoint) or self._load(checkpoint) for checkpoint in checkpoints]
            with self._lock:
                for trunk, model, _ in found:
                    self._trunks.move_to_end(trunk.key)
                    trunk.models.move_to_end(model.checkpoint)
                self._make_room({trunk.key for trunk, _, _ in found}, set(checkpoints))
            return found

    def _load(self, checkpoint_id: str) -> LoadedModel:
        try:
            checkpoint = StoredCheckpoint.read(self._database, checkpoint_id)
            decoding = checkpoint.decoding
            known = self._find_known(checkpoint)
            if known is None:
                trunk, model = self._load_whole(checkpoint)
            else:
                trunk, structure = known
                tensors = checkpoint.load_tensors(self._database, structure.list_own_names(checkpoint))
                model = trunk.place(_build_model(checkpoint, structure, tensors, self._device))
        except (CheckpointNotFound, CheckpointDamaged) as error:
            raise ModelUnloadable(checkpoint_id, error.detail) from error
        except StatisticsUnreadable as error:
            raise ModelUnloadable(checkpoint_id, f"its prediction statistics cannot be read: {error}") from error
        except NOT_LOADED as error:
            log.warning("%s cannot be loaded", checkpoint_id, exc_info=True)
            raise ModelUnloadable(checkpoint_id, str(error) or type(error).__name__) from error
        with self._lock:
            self._trunks[trunk.key] = trunk
            trunk.models[checkpoint_id] = model
            self._models[checkpoint_id] = trunk, model, decoding
        return trunk, model, decoding

    def _find_known(self, checkpoint: StoredCheckpoint) -> tuple[LoadedTrunk, Structure] | None:
        """Find a loaded trunk that has a checkpoint's tensors below its cut."""
        key = checkpoint.structure_key
        for trunk in list(self._trunks.values()):
            structure, content = trunk.structures.get(key, (None, ""))
            if structure is not None and _digest_below(checkpoint, structure) == content:
                return trunk, structure
        return None

    def _load_whole(self, checkpoint: StoredCheckpoint) -> tuple[LoadedTrunk, Model]:
        """Load a checkpoint's whole network, and keep its trunk, unless it is one that is there."""
        with lock_folder(self._settings.scratch) as folder:
            backbone = checkpoint.load_backbone(self._database, folder)
        structure, cut_network = find_structure(backbone, checkpoint)
        key = json.dumps([cut_network.digest, backbone.preprocessing.to_dict()])
        trunk = self._trunks.get(key)
        if trunk is None:
            trunk = LoadedTrunk(key, cut_network, backbone.preprocessing, self._device, self._cache)
            self._check_size(checkpoint, trunk)
            threading.Thread(target=compile_engine, args=(trunk,), name="compile").start()
        content = _digest_below(checkpoint, structure)
        trunk.structures.setdefault(checkpoint.structure_key, (structure, content))
        tensors = checkpoint.load_tensors(self._database, structure.list_own_names(checkpoint))
        return trunk, trunk.place(_build_model(checkpoint, structure, tensors, self._device))

    def _check_size(self, checkpoint: StoredCheckpoint, trunk: LoadedTrunk) -> None:
        if trunk.size > self._settings.predictor_bytes:
            raise ModelUnloadable(
                checkpoint.row.id,
                f"its backbone takes {trunk.size:,} bytes, and GRAFT_PREDICTOR_BYTES is "
                f"{self._settings.predictor_bytes:,}. Raise it.",
            )

    def _make_room(self, trunks_in_use: set[str], models_in_use: set[str]) -> None:
        """Remove trunks, and then single models, that were used longest ago, until all fits."""
        if self._sum_bytes() > self._settings.predictor_bytes:
            self._selections.clear()
        for key in [key for key in self._trunks if key not in trunks_in_use]:
            if self._sum_bytes() > self._settings.predictor_bytes:
                for checkpoint in self._trunks.pop(key).models:
                    del self._models[checkpoint]
        loaded = [checkpoint for trunk in self._trunks.values() for checkpoint in trunk.models]
        unused = [checkpoint for checkpoint in loaded if checkpoint not in models_in_use]
        for checkpoint in unused:
            if self._sum_bytes() > self._settings.predictor_bytes:
                self._models.pop(checkpoint)[0].remove(checkpoint)


def _build_model(
    checkpoint: StoredCheckpoint, structure: Structure, tensors: dict[str, torch.Tensor], device: torch.device
) -> Model:
    head = structure.build_head(checkpoint, tensors).to(device)
    top = None
    if structure.top is not None:
        named = {key: tensors[name].to(device) for key, name in structure.top_names.items()}
        top = Top(structure.top.to(device), named)
    # Of a graph, all but the last layer of another head lies below the cut.
    has_novelty = checkpoint.is_library_head or "graph" not in checkpoint.metadata
    return Model(
        checkpoint.row.id, checkpoint.classes, checkpoint.is_multi_label, head, top, checkpoint.statistics, has_novelty
    )


def _digest_below(checkpoint: StoredCheckpoint, structure: Structure) -> str:
    """Compute the digest of a checkpoint's tensors below the cut, from the list of them; empty if some are missing."""
    if not checkpoint.tensors.keys() >= set(structure.below):
        return ""
    below = [checkpoint.tensors[name] for name in structure.below]
    return hashlib.sha256(json.dumps([tuple(tensor) for tensor in below]).encode()).hexdigest()


def compile_engine(trunk: LoadedTrunk) -> None:
    """Compile a trunk's engine; where that fails, its images are computed by eager PyTorch."""
    try:
        trunk.compile()
    except Exception:
        log.exception("the engine %s cannot be compiled; images are computed by eager PyTorch", trunk.config)
