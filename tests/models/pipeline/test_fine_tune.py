"""A whole fine-tuning: what it reports is true of the file that it delivers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from graft.images import decode
from models.catalog.recipe import Recipe
from models.messages import EpochEnded, HeadsSearched, Noted, PhaseStarted, Progressed, RecipeResolved
from models.networks.image_sizes import InputSizeUnsupported
from models.pipeline import setup_report
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from models.pipeline.spec import BackboneSpec
from tests.support.small_job import CLASSES, GUIDE, Job, last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path


def test_the_events_tell_the_whole_story(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, cache={"views": 4})))
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    assert phases == ["preparing", "caching", "training", "evaluating", "storing"]
    *_, resolved = (event for event in events if isinstance(event, RecipeResolved))
    assert '"auto"' not in json.dumps(resolved.recipe)
    assert (resolved.recipe["image_size"], resolved.recipe["batch_size"]) == (32, 8)
    prepared = next(event for event in events if isinstance(event, Noted))
    assert prepared.data.pop("engine_figures")["plain_seconds"] > 0
    assert prepared.data.pop("seconds_per_image") > 0
    assert prepared.data == {
        "backbone_revision": None,
        "cut": "global_pool.flatten",
        "stages": [],
        "dropped": [],
        "num_features": 96,
        "train": 66,
        "validation": 12,
        "test": 12,
        "bytes_per_view": 90 * 96 * 2,
        "engine": "eager float32",
    }
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == list(range(1, 9))
    percents = [event.percent for event in events if isinstance(event, Progressed)]
    assert percents == sorted(percents)
    assert 98.5 <= percents[-1] <= 99.0

    ended = last(events)
    assert ended.classes == CLASSES
    # View 0 of all, and four views of what is trained on; read again: view 0 for the head, and epochs 6 to 8. The test
    # images are computed once more, exactly.
    assert ended.cache["misses"] == 90 + 4 * 66 + 12


def shares(job: Job) -> dict[str, float]:
    """Progress of a job at the start of each phase, in percent."""
    percent = 0.0
    begun: dict[str, float] = {}
    for event in fine_tune(*job):
        if isinstance(event, Progressed):
            assert event.percent >= percent
            percent = event.percent
        elif isinstance(event, PhaseStarted):
            begun[event.phase] = percent
    return begun


@pytest.mark.parametrize(
    "choices", [{"cut": "none"}, {"cache": "off"}, {"cut": "top"}], ids=["uncut", "uncached", "unfrozen"]
)
def test_progress_ends_near_the_end_whatever_is_trained(choices: dict[str, object], tmp_path: Path) -> None:
    cold = shares(small_job(tmp_path, epochs=4, **choices))
    warm = shares(small_job(tmp_path, epochs=4, **choices))
    assert 98.5 <= cold["evaluating"] <= 99.0
    assert 98.5 <= warm["evaluating"] <= 99.0
    assert warm["training"] < 5, "what is read has been computed"


def test_the_delivered_file_in_plain_timm_has_the_accuracy_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = small_job(tmp_path)
    ended = last(list(fine_tune(*job)))
    # With the guide's own lines, as a reader would.
    lines = re.search(r"```python\n(import json, timm.*?)```", GUIDE.read_text(), re.DOTALL)
    assert lines is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines[1], names)
    (opening,) = re.findall(r"```python\n(from graft.images.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(job.pack.read_file(0))
    exec(opening, names)
    assert capsys.readouterr().out.strip() in CLASSES
    metadata, network, transform = names["metadata"], names["network"], names["transform"]
    assert not network.training
    assert names["classes"] == CLASSES
    parts = {"validation": 0, "test": 0}
    from models.datasets.splits import split

    found = split(job.pack.digests.tolist(), job.pack.labels, job.pack.splits, 0.15, 0.15)
    for part in parts:
        images = getattr(found, part)
        given = torch.stack(
            [transform(names["open_image"](job.pack.read_file(int(image)), metadata)) for image in images]
        )
        with torch.inference_mode():
            predictions = network(given).argmax(1).numpy()
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (job.pack.labels[images], predictions), 1)
        assert ended.metrics[part]["confusion_matrix"] == confusion.tolist()
        assert ended.metrics[part]["accuracy"] == pytest.approx(confusion.trace() / len(images))
    assert ended.metrics["test"]["accuracy"] > 0.6, "colours can be learned"
    assert json.loads(metadata["metrics"]) == ended.metrics
    assert metadata["backbone"] == "local/small"
    assert metadata["licence"] == "cc0-1.0"


def test_the_trunk_that_is_delivered_is_the_backbones_own(tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=1)
    list(fine_tune(*job))
    before = load_file(tmp_path / "backbones/small/model.safetensors")
    after = load_file(job.checkpoint)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name]) if name.split(".")[0] != "fc"}
    assert changed == set()


def test_a_second_job_computes_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = small_job(tmp_path, "first"), small_job(tmp_path, "second")
    list(fine_tune(*first))
    ended = last(list(fine_tune(*second)))
    assert ended.cache["misses"] == 0
    assert ended.cache["saved_seconds"] > 0
    one, other = first.checkpoint.read_bytes(), second.checkpoint.read_bytes()
    assert one == other


def with_other(job: Job) -> Job:
    """Pretrained on a dataset, which is the same."""
    return job.change(other_dataset=job.spec.dataset)._replace(other_pack=job.pack)


@pytest.mark.parametrize("kind", ["autoencoder", "restricted_boltzmann_machine", "rotation", "other_labels"])
def test_an_attempt_that_starts_from_the_recipe_as_it_is_shown_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    """A worker that takes over has the resolved recipe alone: all that was found for it has to be in there."""
    other = {"dataset": "ds_other"} if kind == "other_labels" else {}
    pretraining = {"kind": kind, "epochs": 2, **other}
    first = small_job(tmp_path, "first", head={"kind": "mlp", "activation": "sigmoid"}, pretraining=pretraining)
    first = with_other(first) if other else first
    *_, resolved = (event for event in fine_tune(*first) if isinstance(event, RecipeResolved))
    assert '"auto"' not in json.dumps(resolved.recipe)
    second = first.change(checkpoint=tmp_path / "second.safetensors", recipe=Recipe.model_validate(resolved.recipe))
    list(fine_tune(*second))
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes()


def test_a_search_ends_before_training_begins_and_the_recipe_has_the_best(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, search={"trials": 6}, optimizer={"lr": 0.01})))
    (searched,) = (event for event in events if isinstance(event, HeadsSearched))
    best = searched.trials[0]
    *_, resolved = (event.recipe for event in events if isinstance(event, RecipeResolved))
    assert resolved["search"] is None
    assert (resolved["optimizer"]["lr"], resolved["head"]["dropout"]) == (best.lr, best.dropout)
    assert resolved["regularizers"] == [{"kind": "l2", "strength": best.l2}]
    training = next(
        n for n, event in enumerate(events) if isinstance(event, PhaseStarted) and event.phase == "training"
    )
    assert events.index(searched) < training
    with_it = last(events).metrics["validation"]["loss"]
    alone = last(list(fine_tune(*small_job(tmp_path, name="alone", optimizer={"lr": 0.01})))).metrics["validation"]
    assert with_it <= alone["loss"] * 1.05


def test_another_policy_of_augmentation_shares_the_plain_views(tmp_path: Path) -> None:
    views = {"cache": {"views": 4}}
    list(fine_tune(*small_job(tmp_path, epochs=2, **views)))
    ended = last(list(fine_tune(*small_job(tmp_path, epochs=2, augmentations=[{"kind": "rotate"}], **views))))
    assert ended.cache["misses"] == 66, "view 1 alone is new"


def test_too_few_images_for_a_test_leave_it_out(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    tiny = job._replace(pack=small_pack(tmp_path, classes=3, each=2))
    assert last(list(fine_tune(*tiny))).metrics["test"] is None


def test_another_input_size_is_computed_and_delivered(tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=1, image_size=48)
    list(fine_tune(*job))
    with safe_open(job.checkpoint, "pt") as file:
        assert json.loads(file.metadata()["pretrained_cfg"])["input_size"] == [3, 48, 48]


def vit_job(folder: Path, **choices: object) -> Job:
    """A job of a small vision transformer for images of 32 pixels, with patches of 16."""
    job = small_job(folder, **choices)
    vit = folder / "backbones/vit"
    if not vit.exists():
        vit.mkdir()
        torch.manual_seed(0)
        arguments = {"img_size": 32, "depth": 2, "embed_dim": 48}
        network = timm.create_model("vit_tiny_patch16_224", num_classes=3, **arguments)
        save_file(network.state_dict(), vit / "model.safetensors")
        cfg = {"input_size": [3, 32, 32], "fixed_input_size": True, "num_classes": 3, "classifier": "head"}
        config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": cfg}
        (vit / "config.json").write_text(json.dumps(config))
    return job.change(backbone=BackboneSpec(name="local/vit"))


def test_a_vision_transformer_is_delivered_at_another_size(tmp_path: Path) -> None:
    """The checkpoint loads by the guide's lines, and what was measured of it is what it gives."""
    job = vit_job(tmp_path, epochs=2, image_size=64, precision="exact")
    metrics = last(list(fine_tune(*job))).metrics
    with safe_open(job.checkpoint, "pt") as file:
        metadata = file.metadata()
    arguments = json.loads(metadata["model_args"])
    assert arguments["img_size"] == [64, 64]
    assert json.loads(metadata["pretrained_cfg"])["input_size"] == [3, 64, 64]
    network = timm.create_model(
        metadata["architecture"], num_classes=3, **arguments, checkpoint_path=str(job.checkpoint)
    ).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(json.loads(metadata["pretrained_cfg"])))
    _, _, test = split_pack(job.pack, 3, job.spec.recipe)
    shown = torch.stack([transform(decode(job.pack.read_file(image), job.pack.decoding)) for image in test.images])
    with torch.inference_mode():
        logits = network(shown)
    assert metrics["test"]["accuracy"] == pytest.approx((logits.argmax(1).numpy() == test.labels).mean())
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.labels))
    assert metrics["test"]["loss"] == pytest.approx(loss.item(), rel=1e-4, abs=1e-5)


def test_each_size_has_features_and_digests_of_its_own(tmp_path: Path) -> None:
    ends, digests = [], set()
    for size in (32, 64, 64):
        job = vit_job(tmp_path, epochs=1, image_size=size)
        ends.append(last(list(fine_tune(*job))))
        with safe_open(job.checkpoint, "pt") as file:
            digests.add(file.metadata()["backbone_digest"])
    assert [end.cache["misses"] > 0 for end in ends] == [True, True, False]
    assert len(digests) == 2


def test_a_size_that_the_backbone_cannot_take_fails_by_name_and_says_which_it_takes(tmp_path: Path) -> None:
    with pytest.raises(InputSizeUnsupported, match=r"40x40.*16x16.*32 or 48"):
        list(fine_tune(*vit_job(tmp_path, image_size=40)))


@pytest.mark.parametrize(("size", "is_warned"), [(32, False), (64, True)])
def test_images_that_take_long_are_warned_of_before_they_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, is_warned: bool
) -> None:
    monkeypatch.setattr(setup_report, "LONG_SECONDS", 0.0)
    warned = []
    for event in fine_tune(*small_job(tmp_path, image_size=size, cache={"views": 4})):
        if isinstance(event, PhaseStarted) and event.phase == "caching":
            break
        if isinstance(event, Noted) and event.kind == "large_images":
            warned.append(event)
    assert bool(warned) is is_warned
    if is_warned:
        assert "64x64 pixels have 4 times" in warned[0].message
        assert warned[0].data["views"] == 4
