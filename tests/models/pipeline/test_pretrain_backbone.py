"""Pretraining of whole backbones: what is learned, what comes out, and that it can be cut off anywhere."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models import backbones
from models.datasets.pack import SPLIT_CODES
from models.messages import Noted, Progressed, ProgressSaved
from models.pipeline.fine_tune import fine_tune
from models.pipeline.pretrain_backbone import PretrainingImpossible, choose_images, pretrain_backbone
from models.pipeline.spec import BackboneSpec
from models.pretraining.messages import EpochPretrained
from models.runtime.supervisor_callbacks import Context
from models.training.loop import TrainingDiverged
from tests.support.small_job import last, small_job
from tests.support.small_pack import small_pack
from tests.support.small_pretraining import get_last, small_pretraining

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ("contrastive", "masked", "denoising", "supervised")


@pytest.mark.parametrize("kind", METHODS)
def test_whoever_takes_it_up_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    given = small_pretraining(tmp_path, kind=kind)
    whole = given.change(snapshot_seconds=0.0).run()
    expected, ended = given.read_files(), get_last(whole)
    snapshots = sum(isinstance(event, ProgressSaved) for event in whole)
    assert snapshots == 2 * (42 // 8 + 1), "after each step and each epoch"
    draw = random.Random(kind)
    for after in (snapshots, draw.randint(1, snapshots - 1)):
        rest = given.cut_off(after)
        assert get_last(rest.run()).losses == ended.losses
        assert rest.read_files() == expected, f"cut off at snapshot {after} of {snapshots}"


def test_its_supervisor_may_ask_for_a_snapshot(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path, kind="supervised").change(snapshot_seconds=3600.0)
    context = Context(snapshot_requested=lambda: True)
    given.spec.folder.mkdir(parents=True)
    saved = next(event for event in pretrain_backbone(*given, context) if isinstance(event, ProgressSaved))
    assert saved.snapshot is not None
    events = given.change(snapshot=given.spec.folder.with_name(saved.snapshot)).run()
    assert next(event for event in events if isinstance(event, Noted)).kind == "resumed_from_snapshot"


@pytest.mark.parametrize("backbone", ["local/small", "local/graph"])
def test_jobs_can_name_what_comes_out(backbone: str, tmp_path: Path) -> None:
    given = small_pretraining(tmp_path, backbone, kind="supervised", epochs=4, lr=3e-3)
    ended = get_last(given.run())
    assert ended.losses[-1] < ended.losses[0]
    assert ended.summary.licence == "cc0-1.0"
    assert ended.summary.input_size == (3, 32, 32)
    assert ended.images == 42
    assert ended.files.keys() == given.read_files().keys()
    before = load_file(tmp_path / "backbones" / backbone.removeprefix("local/") / "model.safetensors")
    after = load_file(given.spec.folder / "model.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name].to(value))}
    classifier = {name for name in before if name not in after or after[name].shape != before[name].shape}
    assert changed | classifier == set(before), "each weight and each statistic is trained, or dropped"
    assert len(classifier) in (0, 2)
    job = small_job(tmp_path, epochs=2).change(backbone=BackboneSpec(name="bb_new", folder=given.spec.folder))
    assert last(list(fine_tune(*job))).metrics["test"]["accuracy"] > 0.8


def test_its_classifier_is_dropped_with_the_names_of_the_classes(tmp_path: Path) -> None:
    config = tmp_path / "backbones" / "small" / "config.json"
    given = small_pretraining(tmp_path)
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "label_names": [f"class {number}" for number in range(10)]}))
    given.run()
    written = backbones.imported.load_folder("bb_new", given.spec.folder)
    assert written.network.num_classes == 0
    assert "label_names" not in written.pretrained_cfg


def test_it_reports_epochs_and_progress(tmp_path: Path) -> None:
    events = small_pretraining(tmp_path, kind="masked").run()
    epochs = [event for event in events if isinstance(event, EpochPretrained)]
    assert [event.epoch for event in epochs] == [1, 2]
    assert [event.loss for event in epochs] == get_last(events).losses
    assert epochs[-1].lr == pytest.approx(0.0, abs=1e-12)
    progress = [event for event in events if isinstance(event, Progressed)]
    assert progress[-1].percent == 99.0
    assert (progress[-1].epoch, progress[-1].epochs, progress[-1].step, progress[-1].steps) == (2, 2, 10, 10)


def test_images_that_a_job_tests_on_are_left_out(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path)
    chosen = choose_images(given.pack, given.spec)
    assert len(chosen) == 42
    assert np.isin(given.pack.splits[chosen], [SPLIT_CODES.index(""), SPLIT_CODES.index("train")]).all()


def test_images_without_labels_serve_but_for_supervised(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path)
    unlabelled = given.pack._records.copy()
    unlabelled["split"], unlabelled["label"] = SPLIT_CODES.index("unlabelled"), 0xFFFFFFFF
    given.pack._records = unlabelled
    assert len(choose_images(given.pack, given.spec)) == 60
    supervised = small_pretraining(tmp_path, kind="supervised").spec
    with pytest.raises(PretrainingImpossible, match="one label each"):
        choose_images(given.pack, supervised)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path)
    with pytest.raises(PretrainingImpossible, match=r"has 12 images .* 16 are needed"):
        choose_images(small_pack(tmp_path, classes=3, each=6), given.spec)


def test_several_labels_an_image_are_not_for_supervised(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path, kind="supervised")
    with pytest.raises(PretrainingImpossible, match="one label each"):
        choose_images(small_pack(tmp_path, classes=3, each=20, pairs=4), given.spec)


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"set method\.lr to less than 1e\+30"):
        small_pretraining(tmp_path, kind="supervised", lr=1e30, epochs=20).run()


def test_a_batch_has_at_most_all_images(tmp_path: Path) -> None:
    events = small_pretraining(tmp_path, kind="denoising", batch_size=64).run()
    assert [event.steps for event in events if isinstance(event, Progressed)][-1] == 2


def test_a_damaged_snapshot_starts_over(tmp_path: Path) -> None:
    given = small_pretraining(tmp_path, kind="supervised")
    given.run()
    expected = given.read_files()
    (tmp_path / "damaged").write_bytes(b"0" * 64)
    events = given.change(snapshot=tmp_path / "damaged").run()
    assert isinstance(events[0], Noted)
    assert events[0].kind == "snapshot_unreadable"
    assert given.read_files() == expected
