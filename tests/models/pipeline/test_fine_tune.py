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
from safetensors.torch import load_file

from models.catalog.recipe import Recipe
from models.messages import EpochEnded, HeadsSearched, Noted, PhaseStarted, Progressed, RecipeResolved
from models.networks.feature_network import InputSizeUnsupported
from models.pipeline.fine_tune import fine_tune
from tests.support.small_job import CLASSES, README, Job, last, small_job
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
    assert prepared.data == {
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
    # With the README's own lines, as a reader would.
    lines = re.search(r"```python\n(import json, timm.*?)```", README.read_text(), re.DOTALL)
    assert lines is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines[1], names)
    (opening,) = re.findall(r"```python\n(from graft.images.*?)```", README.read_text(), re.DOTALL)
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


def test_a_size_that_the_backbone_cannot_take_fails_by_name(tmp_path: Path) -> None:
    config = tmp_path / "backbones/fixed/config.json"
    job = small_job(tmp_path, image_size=64)
    from safetensors.torch import save_file

    config.parent.mkdir()
    arguments = {"img_size": 32, "depth": 1, "num_classes": 3}
    save_file(
        timm.create_model("vit_tiny_patch16_224", **arguments).state_dict(), config.with_name("model.safetensors")
    )
    cfg = {"input_size": [3, 32, 32], "fixed_input_size": True, "num_classes": 3, "classifier": "head"}
    config.write_text(
        json.dumps(
            {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": cfg, "num_classes": 3}
        )
    )
    with pytest.raises(InputSizeUnsupported, match="64x64"):
        list(fine_tune(*job.change(backbone="local/fixed")))
