"""Files of uploaded backbones and of checkpoints in an attempt's folder, on both databases."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import delete, update

from models import backbones
from models.backbones.errors import WeightsUnavailable
from models.runtime.checkpoint_file import write
from service.storage import Storage
from service.tables import Backbone, Chunk, Dataset, Job
from tests.support.checkpoints import add_job, add_small_checkpoint, store_and_publish
from tests.support.jobs import claim_job
from workers.lease import fence
from workers.work import backbone_files
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def files(database: Database, settings: Settings, tmp_path: Path) -> dict[str, bytes]:
    """Store the files of the uploaded backbone bb_1."""
    contents = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "graph.json": b"[]"}
    named = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        key = f"backbones/bb_1/1/{name}"
        Storage(settings.storage).put(tmp_path / name, key)
        named[name] = {"key": key, "bytes": len(content), "digest": hashlib.sha256(content).hexdigest()}
    with database.writing() as session:
        session.add(Backbone(id="bb_1", source="upload", status="ready", attempt=1, crashes=0, files=named))
    return contents


def test_files_of_an_uploaded_backbone_are_linked_not_copied(
    database: Database, settings: Settings, files: dict[str, bytes], tmp_path: Path
) -> None:
    folder = backbone_files.fetch(database, settings, "bb_1", tmp_path / "scratch")
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    stored = settings.data / "storage" / "backbones" / "bb_1" / "1" / "model.safetensors"
    assert (folder / "model.safetensors").samefile(stored)
    again = backbone_files.fetch(database, settings, "bb_1", tmp_path / "scratch")
    assert again == folder, "a second try finds what the first has left"


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_file_is_left_out_and_the_child_reports_it(
    damage: str, database: Database, settings: Settings, files: dict[str, bytes], tmp_path: Path
) -> None:
    stored = settings.data / "storage" / "backbones" / "bb_1" / "1" / "model.safetensors"
    if damage == "missing":
        stored.unlink()
    else:
        stored.write_bytes(b"other")
    folder = backbone_files.fetch(database, settings, "bb_1", tmp_path / "scratch")
    assert folder is not None
    with pytest.raises(WeightsUnavailable, match=r"files of bb_1 are missing.*Restore"):
        backbones.load("bb_1", None, None, folder)


def test_a_checkpoint_is_written_from_the_tensors_in_the_database(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path / "a", {"trunk": torch.randn(3 << 18), "head": torch.randn(7)}, {"k": "v"})
    add_job(database)
    checkpoint = store_and_publish(database, tmp_path / "a").id
    folder = backbone_files.fetch(database, settings, checkpoint, tmp_path / "scratch")
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "a").read_bytes()

    with database.writing() as session:
        session.execute(delete(Chunk).where(Chunk.seq == 1))
    folder = backbone_files.fetch(database, settings, checkpoint, tmp_path / "scratch")
    assert folder is not None
    with pytest.raises(WeightsUnavailable, match=checkpoint):
        backbones.load(checkpoint, None, None, folder)


def test_backbones_of_sources_have_no_files_to_bring(database: Database, settings: Settings, tmp_path: Path) -> None:
    assert backbone_files.fetch(database, settings, "timm/resnet18.a1_in1k", tmp_path / "scratch") is None


def test_a_job_gets_the_file_of_its_teacher_in_a_folder_of_its_own(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    teacher = add_small_checkpoint(database, tmp_path)
    with database.writing() as session:
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
        job = {"status": "queued", "backbone": teacher, "recipe": {"distillation": {"teacher": teacher}}}
        session.execute(update(Job).values(**job))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        spec = attempt.start(session, fence(session, attempt.claim))
    assert spec.teacher_folder != spec.backbone.folder
    for folder in (spec.teacher_folder, spec.backbone.folder):
        assert folder is not None
        assert (folder / "model.safetensors").read_bytes() == (tmp_path / "small.safetensors").read_bytes()
