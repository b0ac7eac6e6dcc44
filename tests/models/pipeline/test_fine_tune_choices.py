"""Whole fine-tunings with other heads, cuts and tasks: what is delivered is what was reported."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from graft.images import open_image
from models.datasets.splits import split
from models.messages import Noted, RecipeResolved
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec
from tests.support.small_job import CLASSES, GUIDE, Job, cut_off, last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path


TOP = {"kind": "top", "stages": 2}

CHOICES: dict[str, dict[str, Any]] = {
    "an mlp": {"head": {"kind": "mlp", "hidden": [16, 8], "normalization": "batch_norm"}},
    "a cosine head": {"head": "cosine"},
    "a shortened network": {"drop_stages": 1},
    "a shortened network with new layers": {"drop_stages": 2, "head": {"kind": "mlp", "hidden": [16]}},
    "trained stages": {"cut": TOP, "epochs": 3},
    "trained stages with an mlp": {"cut": TOP, "head": "mlp", "epochs": 3},
    "gradual unfreezing": {"cut": {"kind": "gradual", "stages": 2, "every": 1}, "epochs": 4},
    "everything trained": {"cut": "none", "epochs": 2},
    "everything trained, its norms too": {"cut": {"kind": "none", "batch_norm": "trained"}, "epochs": 2},
    "low-rank updates": {"cut": TOP, "tuning": "lora", "epochs": 3},
    "biases alone, all of them": {"cut": "none", "tuning": "bias_only", "epochs": 2},
    "norms alone": {"cut": TOP, "tuning": "norm_only", "epochs": 3},
    "no cache": {"cache": {"mode": "off"}, "epochs": 3},
    "images that are mixed": {"augmentations": ["cutmix", "horizontal_flip"], "epochs": 3},
}


def delivered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the guide's own lines define, run on the checkpoint."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    simple, general = (block for block in blocks if "create_model" in block)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    head, tail = simple.split("network =")[0], simple[simple.index("transform =") :]
    exec(head + general + tail, names)
    return names


def confusion(job: Job, names: dict[str, Any]) -> np.ndarray:
    """Confusion matrix of the delivered network on the test images."""
    found = split(job.pack.digests.tolist(), job.pack.labels, job.pack.splits, 0.15, 0.15).test
    images = [names["transform"](open_image(job.pack.read_file(int(image)), names["metadata"])) for image in found]
    with torch.inference_mode():
        predictions = names["network"](torch.stack(images)).argmax(1).numpy()
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (job.pack.labels[found], predictions), 1)
    return matrix


@pytest.mark.parametrize("name", CHOICES)
def test_the_delivered_file_has_the_accuracy_that_was_reported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(tmp_path, **CHOICES[name])
    events = list(fine_tune(*job))
    names = delivered(tmp_path, monkeypatch)
    assert last(events).metrics["test"]["confusion_matrix"] == confusion(job, names).tolist()
    *_, resolved = (event for event in events if isinstance(event, RecipeResolved))
    assert '"auto"' not in json.dumps(resolved.recipe)


@pytest.mark.parametrize("name", ["trained stages", "gradual unfreezing", "everything trained"])
def test_what_lies_above_the_cut_is_trained_and_nothing_below(name: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, early_stopping=None, **CHOICES[name])
    events = list(fine_tune(*job))
    prepared = next(event for event in events if isinstance(event, Noted) and event.kind == "prepared")
    with (
        safe_open(tmp_path / "backbones/small/model.safetensors", "pt") as before,
        safe_open(job.checkpoint, "pt") as after,
    ):
        names = set(before.keys()) - {"fc.weight", "fc.bias"}
        changed = {key for key in names if not torch.equal(before.get_tensor(key), after.get_tensor(key))}
    stages = tuple(f"{stage}." for stage in prepared.data["stages"])
    assert changed, "something was trained"
    assert all(key.startswith(stages) for key in changed)
    assert not any("running" in key for key in changed), "BatchNorm stands still"


def test_a_second_job_reads_the_features_of_its_cut(tmp_path: Path) -> None:
    list(fine_tune(*small_job(tmp_path, "first", cut=TOP, epochs=2)))
    ended = last(list(fine_tune(*small_job(tmp_path, "second", cut=TOP, epochs=2))))
    assert ended.cache["misses"] == 0
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_several_labels_a_image(tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=30)
    (tmp_path / "several").mkdir()
    job = job._replace(pack=small_pack(tmp_path / "several", classes=3, each=20, pairs=20))
    events = list(fine_tune(*job))
    metrics = last(events).metrics
    assert {"loss", "accuracy", "map", "micro_f1", "macro_f1"} <= metrics["test"].keys()
    assert metrics["test"]["map"] > 0.6, "colours can be learned"
    *_, resolved = (event for event in events if isinstance(event, RecipeResolved))
    assert (resolved.recipe["task"], resolved.recipe["loss"]["kind"]) == ("multi_label", "binary_cross_entropy")
    with safe_open(job.checkpoint, "pt") as file:
        assert file.metadata()["task"] == "multi_label"
        assert json.loads(file.metadata()["class_names"]) == CLASSES


def test_a_checkpoint_is_a_backbone_whose_classes_can_be_kept(tmp_path: Path) -> None:
    first = small_job(tmp_path, epochs=20)
    reached = last(list(fine_tune(*first))).metrics["validation"]["accuracy"]
    with safe_open(first.checkpoint, "pt") as file:
        metadata = file.metadata()
    folder = tmp_path / "backbones" / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(first.checkpoint.read_bytes())
    cfg = json.loads(metadata["pretrained_cfg"])
    config = {"architecture": metadata["architecture"], "num_classes": 3, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps({**config, "model_args": json.loads(metadata["model_args"])}))
    again = small_job(tmp_path, "again", head="keep", epochs=1, optimizer={"kind": "sgd", "lr": 1e-9})
    again = again.change(backbone=BackboneSpec(name="local/mine"))
    metrics = last(list(fine_tune(*again))).metrics
    assert metrics["initial"]["validation_accuracy"] == pytest.approx(reached, abs=0.1)
    assert metrics["validation"]["accuracy"] == pytest.approx(reached, abs=0.1)
    whole = again.checkpoint.read_bytes()
    _, rest = cut_off(again, 2)
    list(fine_tune(*rest))
    assert again.checkpoint.read_bytes() == whole


def kept(events: list[Any]) -> dict[str, Any]:
    """Data of the notes about the cache, by kind."""
    return {event.kind: event.data for event in events if isinstance(event, Noted)}


def test_a_budget_leaves_views_out_rather_than_fail(tmp_path: Path) -> None:
    row = 96 * 2
    budget = row * (90 + 66 + 65)  # the plain view of all, one of what is trained on, and nearly another
    events = list(fine_tune(*small_job(tmp_path, cache={"views": 4, "max_bytes": budget})))
    notes = kept(events)
    assert notes["views_limited"] == {"views": 1, "left_out": 3}
    assert notes["prepared"]["bytes_per_view"] == row * 90
    *_, resolved = (event.recipe for event in events if isinstance(event, RecipeResolved))
    assert resolved["cache"]["views"] == 1
    written = sum(file.stat().st_size for file in (tmp_path / "cache").glob("*/*.rows"))
    exact = 12 * 96 * 4
    assert written == row * (90 + 66) + exact


def test_a_budget_moves_the_cut_up_rather_than_fail(tmp_path: Path) -> None:
    cut = {"kind": "top", "stages": 2}
    whole = kept(list(fine_tune(*small_job(tmp_path, cut=cut, epochs=1, cache={"views": 0}))))
    assert "cut_moved" not in whole
    budget = whole["prepared"]["bytes_per_view"] - 1
    events = list(fine_tune(*small_job(tmp_path, cut=cut, epochs=1, cache={"views": 0, "max_bytes": budget})))
    notes = kept(events)
    assert notes["cut_moved"] == {"from": whole["prepared"]["cut"], "to": notes["prepared"]["cut"]}
    assert 0 < notes["prepared"]["bytes_per_view"] <= budget
    assert set(notes["prepared"]["stages"]) < set(whole["prepared"]["stages"]) or not notes["prepared"]["stages"]
    assert last(events).metrics["test"]["accuracy"] >= 0


def test_a_budget_for_nothing_still_trains_a_head(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, cut=TOP, epochs=2, cache={"views": 2, "max_bytes": 1})))
    notes = kept(events)
    assert (notes["prepared"]["cut"], notes["prepared"]["stages"]) == ("global_pool.flatten", [])
    assert notes["views_limited"]["views"] == 0
    assert last(events).metrics["test"] is not None
