"""Stored checkpoints: their metadata and the list of their tensors, which are read when they are needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from models.backbones import imported, local
from models.evaluation.prediction_statistics import PredictionStatistics
from models.images.decode import Decoding
from models.pipeline.merge_head import is_own_classifier
from models.runtime.checkpoint_file import TYPES
from service.checkpoints import blobs, repository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from models.backbones.backbone import Backbone
    from service.checkpoints.blobs import StoredTensor
    from service.database import Database
    from service.tables import Checkpoint

DTYPES = {name: dtype for dtype, name in TYPES.items()}


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as the database has it."""

    row: Checkpoint
    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]
    statistics: PredictionStatistics | None

    @classmethod
    def read(cls, database: Database, checkpoint_id: str) -> StoredCheckpoint:
        """Read a checkpoint's row and list its tensors; raises CheckpointNotFound."""
        with database.reading() as session:
            row = repository.get(session, checkpoint_id)
            metadata = blobs.read_metadata(session, row)
            statistics = repository.find_statistics(session, [checkpoint_id]).get(checkpoint_id)
        tensors = {tensor.name: tensor for tensor in blobs.list_tensors(database, row)}
        read = None if statistics is None else PredictionStatistics.from_bytes(statistics)
        return cls(row, metadata, tensors, read)

    def parse(self, key: str, default: str = "null") -> Any:
        """Parse a value of the metadata that is JSON."""
        return json.loads(self.metadata.get(key, default))

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        names: list[str] = self.parse("class_names")
        return names

    @property
    def is_multi_label(self) -> bool:
        """True if an image may have several classes, or none."""
        return self.metadata.get("task") == "multi_label"

    @cached_property
    def decoding(self) -> Decoding:
        """The rules by which its training opened images."""
        return Decoding.from_metadata(self.metadata)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        recipe: dict[str, Any] = self.parse("recipe")
        return recipe

    @property
    def is_library_head(self) -> bool:
        """True if the head is the network's own classifier."""
        is_shortened = bool(self.recipe.get("drop_stages")) and not self.recipe.get("pooling")
        return is_own_classifier(self.recipe["head"]["kind"], is_shortened=is_shortened)

    @cached_property
    def head_path(self) -> str | None:
        """Path of the layers that are its head; None if the head is the network's own classifier."""
        replaced = self.parse("replaced", "{}")
        return None if self.is_library_head or not replaced else list(replaced)[-1]

    @cached_property
    def structure_key(self) -> str:
        """Description of the network but for weights, and for the head as far as it is known to be no other layer's."""
        replaced = self.parse("replaced", "{}")
        replaced.pop(self.head_path, None)
        facts = {
            **{key: self.metadata.get(key) for key in ("architecture", "model_args", "graph")},
            "replaced": list(replaced.items()),
            "head": self.head_path,
            "cut": self.recipe.get("cut"),
            "preprocessing": {**self.parse("pretrained_cfg"), "num_classes": None, "label_names": None},
        }
        return json.dumps(facts, sort_keys=True)

    def load_tensors(self, database: Database, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Read some of the tensors; raises CheckpointDamaged."""
        loaded = {}
        for name in names:
            stored = self.tensors[name]
            data = bytearray(blobs.read_tensor(database, stored))
            dtype = DTYPES[stored.dtype]
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            loaded[name] = flat.reshape(stored.shape)
        return loaded

    def load_backbone(self, database: Database, folder: Path) -> Backbone:
        """Load the whole network, its file in an empty folder; raises BackboneError and CheckpointDamaged."""
        blobs.copy_to_file(database, self.row, folder / local.WEIGHTS)
        return imported.load(self.row.id, folder, None)
