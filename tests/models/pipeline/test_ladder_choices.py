"""Choices of the ladder: which backbones go on, and how large their images are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from models.catalog import quality
from models.catalog.recipe import Recipe
from models.messages import RecipeResolved
from models.pipeline.fine_tune import fine_tune
from models.pipeline.ladder_choices import ImagesTooSmall, choose_larger_side, keep_better_half
from models.pipeline.spec import BackboneSpec
from tests.support.ladder import cut_off_anywhere, doubtful_job, find_best, list_tried, snapshots_within, timeless
from tests.support.small_job import Job, last, small_job

if TYPE_CHECKING:
    from pathlib import Path

PROBE = {"epochs": 2, "early_stopping": None}
WHOLE = {**quality.BALANCED["whole_network"], "epochs": 2}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of quality `balanced` whose images have 40 pixels a side, of a network that sees 32."""
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, quality.LARGER: PROBE, "whole_network": WHOLE})
    return doubtful_job(tmp_path, side=40).change(recipe=Recipe(quality="balanced"))


def test_larger_images_are_tried_and_later_candidates_have_those_that_were_better(job: Job) -> None:
    events = list(fine_tune(*job))
    probe, larger, whole = list_tried(events)
    assert [one.reason for one in (probe, larger, whole)] == [None] * 3
    assert (probe.recipe["image_size"], larger.recipe["image_size"]) == (32, 48)
    better = larger if larger.is_better else probe
    assert whole.recipe["image_size"] == better.recipe["image_size"]
    *_, resolved = (event.recipe for event in events if isinstance(event, RecipeResolved))
    assert resolved["image_size"] == find_best(events).recipe["image_size"]
    delivered = job.checkpoint.read_bytes()
    alone = job.change(recipe=Recipe.model_validate(find_best(events).recipe))
    assert last(list(fine_tune(*alone))).metrics == last(events).metrics
    assert job.checkpoint.read_bytes() == delivered


def test_cut_off_within_a_larger_candidate_the_size_is_not_chosen_again(job: Job) -> None:
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    _, within_larger, *_ = snapshots_within(whole)
    heard, rest = cut_off_anywhere(job, within_larger)
    after_it = list(fine_tune(*rest))
    assert job.checkpoint.read_bytes() == expected
    assert [timeless(one) for one in list_tried(heard) + list_tried(after_it)] == [
        timeless(one) for one in list_tried(whole)
    ]


@pytest.mark.parametrize("is_better", [False, True])
def test_the_size_of_the_better_probe_goes_on(job: Job, monkeypatch: pytest.MonkeyPatch, is_better: bool) -> None:
    monkeypatch.setattr("models.pipeline.ladder.is_improvement", lambda *_: is_better)
    _, larger, whole = list_tried(list(fine_tune(*job)))
    assert larger.is_better is is_better
    assert whole.recipe["image_size"] == (48 if is_better else 32)


@pytest.mark.parametrize("is_better", [False, True])
def test_larger_images_have_the_better_pooling(job: Job, monkeypatch: pytest.MonkeyPatch, is_better: bool) -> None:
    of_depths = {**PROBE, "pooling": {"kind": "depths", "numbers": 64}}
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "probe_of_depths": of_depths, quality.LARGER: PROBE})
    monkeypatch.setattr("models.pipeline.ladder.is_improvement", lambda *_: is_better)
    probe, deep, larger = list_tried(list(fine_tune(*job)))
    assert probe.recipe["pooling"] is None
    assert deep.recipe["pooling"] == {"kind": "depths", "stages": 5, "numbers": 64}
    assert (larger.recipe["image_size"], larger.recipe["pooling"]) == (
        48,
        (deep if is_better else probe).recipe["pooling"],
    )
    delivered = job.checkpoint.read_bytes()
    list(fine_tune(*job.change(recipe=Recipe.model_validate((larger if is_better else probe).recipe))))
    assert job.checkpoint.read_bytes() == delivered


def test_heads_are_left_out_where_the_time_is_short_and_larger_images_where_the_recipe_has_a_size(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = job.change(recipe=Recipe(quality="balanced", image_size=32))
    assert list_tried(list(fine_tune(*given)))[1].reason == "the recipe has an image_size"
    monkeypatch.setattr("models.pipeline.ladder.SHARE_OF_TIME", 1e-6)
    of_depths = {**PROBE, "pooling": "depths"}
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "probe_of_depths": of_depths, quality.LARGER: PROBE})
    _, deep, larger = list_tried(list(fine_tune(*job)))
    for one in (deep, larger):
        assert one.reason is not None
        assert one.reason.startswith("it would take about ")


def test_images_without_more_pixels_are_not_enlarged(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    sides = job.pack.shorter_sides
    assert sides.shape == (len(job.pack),)
    median = int(np.median(sides))
    arguments = BackboneSpec(name="local/small"), job.spec.local_backbones
    assert choose_larger_side(*arguments, median - 8, job.pack) == round(1.5 * (median - 8))
    with pytest.raises(ImagesTooSmall, match=f"no more than {median} pixels a side, and the network sees {median}"):
        choose_larger_side(*arguments, median, job.pack)


def test_the_nearest_size_is_one_that_the_network_takes(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    folder = tmp_path / "backbones" / "vit"
    folder.mkdir()
    arguments = {"img_size": 32, "depth": 1, "embed_dim": 48}
    cfg = {"input_size": [3, 32, 32], "fixed_input_size": True, "num_classes": 3, "classifier": "head"}
    config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config))
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, **arguments)
    save_file(network.state_dict(), folder / "model.safetensors")
    backbone = BackboneSpec(name="local/vit")
    assert choose_larger_side(backbone, job.spec.local_backbones, 16, job.pack) == 32, "24 is no multiple of 16"


@pytest.mark.parametrize(
    ("named", "tried", "kept"),
    [
        ("a", [("a", 0.5, True)], "a"),
        ("abc", [("a", 0.5, True), ("b", 0.4, True), ("c", 0.3, False)], "b"),
        ("abcd", [("a", 0.5, True), ("b", 0.4, True), ("c", 0.6, False), ("d", 0.3, False)], "bd"),
        ("abcd", [("a", None, False), ("b", 0.4, True), ("c", None, False), ("d", None, False)], "b"),
        ("bd", [("a", 0.1, True), ("b", 0.4, True), ("d", 0.3, False), ("b", 0.2, True), ("d", 0.1, False)], "b"),
    ],
    ids=[
        "one",
        "the best is the first, whatever its loss",
        "then the smallest loss",
        "none that cannot be used",
        "later",
    ],
)
def test_the_better_half_is_kept(named: str, tried: list[tuple[str, float | None, bool]], kept: str) -> None:
    rows: list[dict[str, Any]] = [
        {"backbone": name, "validation_loss": loss, "is_better": better, "reason": None if loss else "gone"}
        for name, loss, better in tried
    ]
    assert keep_better_half(list(named), rows) == list(kept)
