"""Heads and backbones become the whole file again, or an error names what does not fit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sqlalchemy import func, select
from typer.testing import CliRunner

from graft.assembly import assemble
from graft.cli import app
from graft.errors import InputUnusable
from models.pipeline.fine_tune import fine_tune
from service.checkpoints import blobs
from service.tables import Trunk
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.small_backbone import write_backbone
from tests.support.small_job import small_job

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fine-tunes of the small backbone: of the head alone, and of its top stages."""
    folder = tmp_path_factory.mktemp("trained")
    for name, choices in {
        "head": {},
        "top": {"cut": {"kind": "top", "stages": 1}, "head": {"start": "zero"}, "epochs": 6},
    }.items():
        list(fine_tune(*small_job(folder, name, **{"epochs": 2, **choices})))
    return folder


def download_head(database: Database, file: Path, folder: Path) -> Path:
    """Store a checkpoint, and write its head as the service gives it."""
    add_job(database)
    checkpoint = store_and_publish(database, file)
    head = folder / "head.safetensors"
    head.write_bytes(b"".join(blobs.read_head(database, checkpoint, 0, checkpoint.head_bytes)))
    assert head.stat().st_size == checkpoint.head_bytes
    return head


@pytest.mark.parametrize("name", ["head", "top"])
def test_a_head_and_its_backbone_give_the_same_bytes(
    trained: Path, tmp_path: Path, database: Database, name: str
) -> None:
    whole = trained / f"{name}.safetensors"
    head = download_head(database, whole, tmp_path)
    backbone = trained / "backbones" / "small"
    for place in (backbone, backbone / "model.safetensors"):
        assert assemble(head, place, tmp_path / "whole").read_bytes() == whole.read_bytes()
    with safe_open(head, "pt") as file:
        names = set(file.keys())
    before, after = load_file(backbone / "model.safetensors"), load_file(whole)
    assert names == {key for key in after if key not in before or not torch.equal(before[key], after[key])}
    assert len(names) == 2 if name == "head" else len(names) > 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_backbone_of_half_precision_is_read_as_it_is_loaded(
    tmp_path: Path, database: Database, dtype: torch.dtype
) -> None:
    weights = write_backbone(tmp_path / "backbones" / "small") / "model.safetensors"
    halves = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in load_file(weights).items()
    }
    save_file(halves, weights)
    job = small_job(tmp_path, epochs=2)
    list(fine_tune(*job))
    head = download_head(database, job.checkpoint, tmp_path)
    assert assemble(head, weights, tmp_path / "whole").read_bytes() == job.checkpoint.read_bytes()


def test_fine_tunes_of_one_backbone_share_a_trunk(trained: Path, tmp_path: Path, database: Database) -> None:
    for name in ("head", "again"):
        shutil.copy(trained / "head.safetensors", tmp_path / name)
        download_head(database, tmp_path / name, tmp_path)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Trunk)) == 1


def test_what_does_not_fit_is_named(trained: Path, tmp_path: Path, database: Database) -> None:
    head = download_head(database, trained / "head.safetensors", tmp_path)
    weights = load_file(trained / "backbones" / "small" / "model.safetensors")

    def refuse(tensors: dict[str, torch.Tensor], message: str) -> None:
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(InputUnusable, match=message):
            assemble(head, tmp_path / "other.safetensors", tmp_path / "whole")
        assert not list(tmp_path.glob("whole*"))

    refuse({**weights, "conv1.0.weight": weights["conv1.0.weight"] + 1}, "other values for conv1.0.weight, of .*small")
    refuse({f"module.{name}": tensor for name, tensor in weights.items()}, "lacks .*it has module.*of that backbone")
    with pytest.raises(InputUnusable, match="not the head of a checkpoint"):
        assemble(trained / "head.safetensors", trained / "backbones" / "small", tmp_path / "whole")
    with pytest.raises(InputUnusable, match="cannot be read"):
        assemble(head, tmp_path / "missing", tmp_path / "whole")
    damaged = bytearray(head.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(InputUnusable, match="changed since it was downloaded"):
        assemble(tmp_path / "damaged", trained / "backbones" / "small", tmp_path / "whole")


def test_the_command_line_assembles(trained: Path, tmp_path: Path, database: Database) -> None:
    head = download_head(database, trained / "head.safetensors", tmp_path)
    arguments = ["assemble", str(head), str(trained / "backbones" / "small"), "--output", str(tmp_path / "whole")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "whole").read_bytes() == (trained / "head.safetensors").read_bytes()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
