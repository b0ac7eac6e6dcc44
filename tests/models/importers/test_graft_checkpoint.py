"""A checkpoint's file comes in again: as the backbone that it is, with nothing to be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import backbones
from models.backbones.checkpoint_folder import read_metadata
from models.backbones.errors import ConfigurationBroken
from models.importers import graft_checkpoint
from models.importers.events import Imported, Rejected
from models.importers.request import ImportRequest
from models.importers.run import import_backbone
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec
from tests.support.networks import given
from tests.support.small_backbone import write_graph
from tests.support.small_job import CLASSES, Job, small_job

if TYPE_CHECKING:
    from pathlib import Path


def trained(folder: Path, *, is_graph: bool, **choices: Any) -> Job:
    """Fine-tune a small backbone, of timm or as a graph."""
    job = small_job(folder, epochs=2, **choices)
    if is_graph:
        job = job.change(backbone=BackboneSpec(name="bb_1", folder=write_graph(folder / "graph")))
    list(fine_tune(*job))
    return job


@pytest.mark.parametrize(
    ("is_graph", "choices"),
    [(False, {}), (True, {}), (False, {"head": "mlp", "drop_stages": 1}), (True, {"head": "mlp"})],
    ids=["timm", "graph", "shortened under an mlp", "graph under an mlp"],
)
def test_an_uploaded_checkpoint_becomes_the_backbone_that_it_is(
    is_graph: bool, choices: dict[str, Any], tmp_path: Path
) -> None:
    job = trained(tmp_path, is_graph=is_graph, **choices)
    folder, own = tmp_path / "imported", tmp_path / "attempt"
    folder.mkdir()
    own.mkdir()
    (own / "model.safetensors").write_bytes(job.checkpoint.read_bytes())
    *_, last = import_backbone(ImportRequest(file=job.checkpoint, folder=folder, name="best.safetensors"), lambda: None)
    assert not isinstance(last, Rejected), last.message
    assert isinstance(last, Imported)
    uploaded, checkpoint = backbones.load("bb_2", None, None, folder), backbones.load("ckpt_1", None, None, own)
    with torch.no_grad():
        assert torch.equal(uploaded.network(given((3, 32, 32))), checkpoint.network(given((3, 32, 32))))
    assert uploaded.pretrained_cfg["label_names"] == CLASSES
    assert uploaded.preprocessing == checkpoint.preprocessing
    assert uploaded.licence == "cc0-1.0"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("pretrained_cfg", "{", "metadata of best are not those"),
        ("model_args", "[]", "best"),
        ("num_classes", '"seven"', "best"),
        ("architecture", "os.system", "names the architecture 'os.system'"),
        ("replaced", '{"fc": [["LSTM", {}]]}', "'LSTM', which is not in the list"),
        ("replaced", '{"__class__": [["ReLU", {}]]}', "no module '__class__'"),
        ("replaced", '{"fc": [["Linear", {"in_features": 1e30}]]}', "best"),
        ("graph", "{}", "best"),
    ],
)
def test_damaged_or_hostile_metadata_are_refused(key: str, value: str, words: str, tmp_path: Path) -> None:
    job = trained(tmp_path, is_graph=False)
    metadata = read_metadata("best", job.checkpoint) | {key: value}
    if key == "graph":
        metadata["architecture"] = "graph"
    save_file(load_file(job.checkpoint), tmp_path / "hostile.safetensors", metadata)
    (tmp_path / "imported").mkdir()
    request = ImportRequest(file=tmp_path / "hostile.safetensors", folder=tmp_path / "imported", name="best")
    with pytest.raises(ConfigurationBroken, match=words):
        graft_checkpoint.read(request)
