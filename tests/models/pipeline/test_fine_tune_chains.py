"""Chains of fine-tunings: a checkpoint is the next one's backbone, as what it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save_file

from models import backbones
from models.messages import Noted
from models.networks.graph_code import write_source
from models.networks.graph_network import GraphNetwork
from models.pipeline import setup
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec
from models.runtime.supervisor_callbacks import Context
from models.training.trainable_model import TrainableModel
from tests.support.networks import given, network, rebuild
from tests.support.small_backbone import CONFIG, write_graph
from tests.support.small_job import CLASSES, Job, last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.backbones.backbone import Backbone

SIZE = (3, 32, 32)
FAST: dict[str, Any] = {"epochs": 3}
PARENTS: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"head": {"kind": "mlp", "hidden": [9, 8], "normalization": {"kind": "batch_norm"}}},
    "cosine": {"head": "cosine"},
    "unfrozen": {"cut": {"kind": "top", "batch_norm": "trained"}},
    "shortened": {"drop_stages": 1},
    "shortened under an mlp": {"drop_stages": 1, "head": "mlp"},
    "of several depths": {"pooling": {"kind": "depths", "numbers": 256}},
}


def as_backbone(parent: Job, folder: Path) -> Path:
    """Put a checkpoint's file into the folder of an attempt, as a worker does."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(parent.checkpoint.read_bytes())
    return folder


def read_metadata(job: Job) -> dict[str, str]:
    with safe_open(job.checkpoint, "pt") as file:
        return dict(file.metadata())


def read_tensors(job: Job) -> dict[str, torch.Tensor]:
    with safe_open(job.checkpoint, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict


def load(parent: Job, folder: Path) -> Backbone:
    return backbones.load("ckpt_1", None, None, as_backbone(parent, folder))


def small_graph_job(folder: Path, name: str = "best", **choices: Any) -> Job:
    """A fine-tuning of the small backbone as a graph."""
    job = small_job(folder, name, **choices)
    graph = folder / "graph"
    return job.change(backbone=BackboneSpec(name="bb_1", folder=graph if graph.exists() else write_graph(graph)))


def small_torchvision_job(folder: Path, name: str = "best", **choices: Any) -> Job:
    """A fine-tuning of a network of torchvision that ends in other layers than its own."""
    job, squeezenet = small_job(folder, name, **choices), folder / "backbones" / "squeezenet"
    if not squeezenet.exists():
        squeezenet.mkdir()
        torch.manual_seed(0)
        save_file(torchvision.models.squeezenet1_1(num_classes=10).state_dict(), squeezenet / "model.safetensors")
        config = {**CONFIG, "architecture": "torchvision/squeezenet1_1", "model_args": {}}
        (squeezenet / "config.json").write_text(json.dumps(config))
    return job.change(backbone=BackboneSpec(name="local/squeezenet"))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_checkpoint_of_a_torchvision_network_is_a_backbone(head: str, tmp_path: Path) -> None:
    parent = small_torchvision_job(tmp_path, "parent", **FAST, head=head)
    list(fine_tune(*parent))
    child = small_job(tmp_path, "child", **FAST, head="keep")
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    list(fine_tune(*child))
    for job, folder in ((parent, tmp_path / "a"), (child, tmp_path / "b")):
        metadata = read_metadata(job)
        assert metadata["architecture"] == "torchvision/squeezenet1_1"
        alone = rebuild(torchvision.models.squeezenet1_1(num_classes=3), metadata["replaced"], read_tensors(job))
        with torch.no_grad():
            logits = load(job, folder).network(given(SIZE, 3))
            torch.testing.assert_close(logits, alone(given(SIZE, 3)), atol=1e-3, rtol=1e-4)


def build_again(job: Job) -> Any:
    """Build a checkpoint's network with timm and torch alone, or from its own source."""
    metadata = read_metadata(job)
    if "graph" in metadata:
        namespace: dict[str, Any] = {}
        exec(write_source(json.loads(metadata["graph"])), namespace)
        alone = namespace["Network"]()
        alone.load_state_dict(read_tensors(job))
        return alone.eval()
    plain = network(metadata["architecture"], num_classes=json.loads(metadata["num_classes"]))
    return rebuild(plain, metadata.get("replaced", "{}"), read_tensors(job))


@pytest.mark.parametrize(
    "make", [small_job, pytest.param(small_graph_job, marks=pytest.mark.extended)], ids=["timm", "graph"]
)
@pytest.mark.parametrize("what", PARENTS)
def test_a_checkpoint_is_a_backbone_and_its_childs_checkpoint_too(what: str, make: Any, tmp_path: Path) -> None:
    parent = make(tmp_path, "parent", **FAST, **PARENTS[what])
    list(fine_tune(*parent))
    child = make(tmp_path, "child", **FAST, cut="top")
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    ended = last(list(fine_tune(*child)))
    assert ended.metrics["test"]["accuracy"] > 0.6, "colours can be learned"
    assert read_metadata(child)["backbone"] == "ckpt_1"
    assert json.loads(read_metadata(child)["pretrained_cfg"])["label_names"] == CLASSES
    for job, folder in ((parent, tmp_path / "a"), (child, tmp_path / "b")):
        loaded, alone = load(job, folder), build_again(job)
        assert isinstance(loaded.network, GraphNetwork) == (make is small_graph_job or what == "of several depths")
        with torch.no_grad():
            assert torch.equal(loaded.network(given(SIZE, 3)), alone(given(SIZE, 3)))


@pytest.mark.parametrize("head", ["mlp", "cosine", "keep", "linear"])
@pytest.mark.parametrize(
    "make", [pytest.param(small_job, marks=pytest.mark.extended), small_graph_job], ids=["timm", "graph"]
)
def test_every_head_is_trained_on_a_checkpoint_of_a_shortened_network_with_an_mlp(
    head: str, make: Any, tmp_path: Path
) -> None:
    parent = make(tmp_path, "parent", **FAST, drop_stages=1, head={"kind": "mlp", "hidden": [9]})
    list(fine_tune(*parent))
    child = make(tmp_path, "child", **FAST, head=head)
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    list(fine_tune(*child))
    with torch.no_grad():
        loaded = load(child, tmp_path / "loaded").network
        assert torch.equal(loaded(given(SIZE, 3)), build_again(child)(given(SIZE, 3)))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_stages_of_a_checkpoint_can_be_dropped(head: str, tmp_path: Path) -> None:
    parent = small_job(tmp_path, "parent", **FAST, head=head)
    list(fine_tune(*parent))
    child = small_job(tmp_path, "child", **FAST, drop_stages=1)
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    list(fine_tune(*child))
    replaced = json.loads(read_metadata(child)["replaced"])
    assert replaced["layer4"] == [["Identity", {}]]
    assert next(reversed(replaced.values()))[-1][0] == "Linear"
    with torch.no_grad():
        loaded = load(child, tmp_path / "loaded").network
        assert torch.equal(loaded(given(SIZE, 3)), build_again(child)(given(SIZE, 3)))


def prepare(job: Job) -> setup.Prepared:
    return setup.prepare(job.spec, job.pack, Context())


@pytest.mark.parametrize("make", [small_job, small_graph_job], ids=["timm", "graph"])
@pytest.mark.parametrize("head", ["linear", {"kind": "mlp", "hidden": [9]}], ids=["linear", "mlp"])
def test_a_class_is_added_to_a_checkpoint_and_the_others_start_as_they_were(
    make: Any, head: Any, tmp_path: Path
) -> None:
    parent = make(tmp_path, "parent", **FAST, head=head)
    two = parent.spec.dataset.model_copy(update={"classes": CLASSES[:2]})
    (tmp_path / "two").mkdir()
    parent = parent.change(dataset=two)._replace(pack=small_pack(tmp_path / "two", classes=2, each=30))
    list(fine_tune(*parent))

    child = make(tmp_path, "child", head="keep", epochs=10)
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    ready = prepare(child)
    assert ready.kept is not None
    assert (ready.kept.known, ready.kept.new) == (CLASSES[:2], CLASSES[2:])
    images = ready.train.images
    model = TrainableModel.from_recipe(
        ready.recipe, 3, ready.cut_network, ready.features, images, (ready.kept.weight, ready.kept.bias)
    ).eval()
    own, trunk, inputs = build_again(parent), ready.cut_network.trunk, given(SIZE, 8)
    assert trunk is not None
    with torch.no_grad():
        logits = model(trunk(inputs))
        torch.testing.assert_close(logits[:, :2], own(inputs), atol=1e-4, rtol=1e-4)
        assert not logits[:, 2].any()

    events = list(fine_tune(*child))
    (note,) = [event for event in events if isinstance(event, Noted) and event.kind == "classes_added"]
    assert note.data == {"known": CLASSES[:2], "new": CLASSES[2:]}
    assert last(events).metrics["test"]["accuracy"] > 0.6
    assert json.loads(read_metadata(child)["class_names"]) == CLASSES


@pytest.mark.parametrize("make", [small_job, small_graph_job], ids=["timm", "graph"])
@pytest.mark.parametrize(
    ("choices", "cut"),
    [
        ({}, "all"),
        ({"head": "mlp"}, {"kind": "stage", "name": "layer3"}),
        ({"drop_stages": 1}, {"kind": "stage", "name": "layer2"}),
        ({"cut": "top"}, "top"),
    ],
    ids=["linear", "mlp", "shortened", "unfrozen"],
)
def test_a_checkpoint_shares_the_features_of_its_backbone_where_its_trunk_is_the_same(
    make: Any, choices: dict[str, Any], cut: Any, tmp_path: Path
) -> None:
    parent = make(tmp_path, "parent", epochs=1, **choices)
    list(fine_tune(*parent))
    child = make(tmp_path, "child", cut=cut)
    child = child.change(backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "attempt")))
    again = make(tmp_path, "again", **{"epochs": 1, **choices, "cut": cut})
    assert prepare(child).cut_network.digest == prepare(again).cut_network.digest


def test_an_unfrozen_stage_has_other_features_than_the_backbones(tmp_path: Path) -> None:
    parent = small_job(tmp_path, "parent", epochs=8, cut="top")
    list(fine_tune(*parent))
    child = small_job(tmp_path, "child").change(
        backbone=BackboneSpec(name="ckpt_1", folder=as_backbone(parent, tmp_path / "a"))
    )
    assert prepare(child).cut_network.digest != prepare(small_job(tmp_path, "other")).cut_network.digest
