"""The training spec crosses the pipe to the child as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.catalog.recipe import Recipe
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec

DATASET = DatasetSpec(pack="a.pack", index="a.index", classes=["cat", "dog"], digest="0" * 64)


def spec() -> TrainingSpec:
    """Every field is given."""
    return TrainingSpec(
        job="job_1",
        storage="file:///data",
        dataset=DATASET,
        other_dataset=DATASET,
        backbone=BackboneSpec(name="local/small"),
        backbones=(
            BackboneSpec(name="bb_1", folder=Path("/scratch/0")),
            BackboneSpec(name="timm/a.b", commit="0" * 40),
        ),
        local_backbones=Path("/backbones"),
        recipe=Recipe.model_validate({"head": "mlp", "optimizer": {"lr": 0.5}, "search": None}),
        device="auto",
        cache=Path("/cache"),
        cache_bytes=1 << 40,
        checkpoint=Path("/scratch/best.safetensors"),
        snapshot=Path("/scratch/snapshot.safetensors"),
        snapshot_seconds=30.0,
    )


def test_json_gives_the_same_spec() -> None:
    assert TrainingSpec.model_validate_json(spec().model_dump_json()) == spec()


def test_unknown_fields_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError):
        TrainingSpec.model_validate({**spec().model_dump(), "colour": "blue"})
    with pytest.raises(ValidationError):
        spec().job = "job_2"  # type: ignore[misc]
