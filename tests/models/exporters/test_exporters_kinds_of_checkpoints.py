"""Exports of every kind of checkpoint: heads, trained top stages, several labels, graphs, other libraries."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from safetensors import safe_open

from models.catalog.recipe import Recipe
from models.datasets.pack import Pack
from models.exporters.errors import NetworkUnsupported
from models.exporters.loaded import ExportRequest
from models.exporters.run import export
from tests.support.predicting import VARIANTS, train_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.predicting import Trained

CHECKPOINT = "ckpt_01M8HY01NN7RCPQDR2N7G6JFWJ"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Checkpoints of all variants."""
    return train_all(tmp_path_factory.mktemp("trained"))


@pytest.mark.extended
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("format", ["onnx", "pt2", "bundle", "hub"])
def test_every_kind_of_checkpoint_agrees_in_every_format(
    trained: Trained, tmp_path: Path, format: str, variant: str
) -> None:
    shutil.copy(trained.files[variant], tmp_path / "model.safetensors")
    with safe_open(trained.files[variant], "pt") as opened:
        metadata = opened.metadata()
    folder = trained.folder / "multi" if variant == "multi-label" else trained.folder
    pack = Pack(folder / "small.pack", folder / "small.index")
    options = {"preprocessing": True, "resize": True, "softmax": True} if format == "onnx" else {}
    recipe = Recipe.model_validate({"epochs": 2, **VARIANTS[variant]})
    request = ExportRequest(CHECKPOINT, tmp_path, tmp_path / "file", format, options, recipe)
    is_of_timm = "replaced" not in metadata and "/" not in metadata["architecture"] and "graph" not in metadata
    if format == "hub" and not is_of_timm:
        with pytest.raises(NetworkUnsupported, match="format=bundle"):
            export(request, pack, lambda: None)
        return
    report = export(request, pack, lambda: None)
    assert report["parity"]["images"] > 0
    assert report["parity"]["equal_labels"] == 1.0
    assert report["parity"]["greatest_relative_difference"] <= 1e-4
