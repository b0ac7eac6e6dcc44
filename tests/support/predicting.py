"""Fine-tuned checkpoints of every kind in one database, and what plain libraries predict with their files."""

from __future__ import annotations

import io
import json
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
import torchvision
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

import migrations
from models.networks.graph_code import write_source
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec, name_statistics
from predictor.__main__ import find_address, listen
from predictor.registration import Registration
from predictor.server import create_app
from service import app as api
from service.database import Database
from service.settings import Settings
from service.tables import PredictionStatistics
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.images import coloured
from tests.support.networks import rebuild
from tests.support.serving import running
from tests.support.small_backbone import CONFIG, write_graph
from tests.support.small_job import small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.datasets.pack import Pack
    from tests.support.small_job import Job

VARIANTS: dict[str, dict[str, Any]] = {
    "linear": {},
    "linear again": {"seed": 1, "head": {"kind": "linear", "dropout": 0.3}},
    "mlp": {"head": {"kind": "mlp", "hidden": [9, 8], "normalization": {"kind": "batch_norm"}}},
    "cosine": {"head": "cosine"},
    "unfrozen": {"cut": {"kind": "top", "batch_norm": "trained"}},
    "unfrozen under an mlp": {"cut": {"kind": "top"}, "head": "mlp"},
    "nothing frozen": {"cut": "none"},
    "shortened": {"drop_stages": 1},
    "shortened under an mlp": {"drop_stages": 1, "head": "mlp"},
    "of several depths": {"pooling": "depths"},
    "of several depths under an mlp": {"pooling": "depths", "drop_stages": 1, "head": {"kind": "mlp", "hidden": [9]}},
    "multi-label": {},
    "by OpenVINO": {"engine": "openvino", "precision": "float32"},
    "in half precision": {"precision": "bfloat16"},
    "graph": {},
    "graph under an mlp": {"head": {"kind": "mlp", "hidden": [9]}},
    "torchvision": {},
    "torchvision under an mlp": {"head": {"kind": "mlp", "hidden": [9]}},
}
IMAGES = [coloured(label, seed) for label in range(3) for seed in range(100, 108)]
"""Images that no training has seen."""


@dataclass(frozen=True)
class Trained:
    """Checkpoints of all variants by their ids, their files, and settings on their database."""

    settings: Settings
    ids: dict[str, str]
    files: dict[str, Path]
    folder: Path
    """Of `small.pack` and `small.index`, the images that all trainings but one have seen."""
    pack: Pack


def train_all(folder: Path) -> Trained:
    """Fine-tune every variant on one feature cache, and store the checkpoints."""
    data = folder / "data"
    data.mkdir()
    settings = Settings(data=data, cache_dir=folder / "cache", device="cpu")
    migrations.upgrade(settings.database)
    database = Database(settings.database)
    add_job(database)
    ids, files = {}, {}
    job = None
    for name in VARIANTS:
        job = _prepare(folder, name)
        list(fine_tune(*job))
        ids[name] = store_and_publish(database, job.checkpoint).id
        with database.writing() as session:
            session.add(
                PredictionStatistics(checkpoint_id=ids[name], content=name_statistics(job.checkpoint).read_bytes())
            )
        files[name] = job.checkpoint
    database.close()
    assert job is not None
    return Trained(settings, ids, files, folder, job.pack)


def _prepare(folder: Path, name: str) -> Job:
    job = small_job(folder, name.replace(" ", "_"), epochs=2, **VARIANTS[name])
    if name.startswith("graph"):
        graph = folder / "graph"
        return job.change(backbone=BackboneSpec(name="bb_1", folder=graph if graph.exists() else write_graph(graph)))
    if name.startswith("torchvision"):
        _write_torchvision(folder / "backbones" / "squeezenet")
        return job.change(backbone=BackboneSpec(name="local/squeezenet"))
    if name == "multi-label":
        other = folder / "multi"
        other.mkdir()
        return job._replace(pack=small_pack(other, classes=3, each=20, pairs=10))
    return job


def _write_torchvision(folder: Path) -> None:
    if folder.exists():
        return
    folder.mkdir()
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_1(num_classes=10).state_dict(), folder / "model.safetensors")
    config = {**CONFIG, "architecture": "torchvision/squeezenet1_1", "model_args": {}}
    (folder / "config.json").write_text(json.dumps(config))


@contextmanager
def running_predictor(settings: Settings) -> Iterator[str]:
    """Run a predictor; gives its address."""
    with closing(Database(settings.database)) as database, listen(settings) as listener:
        address = find_address(listener)
        app = create_app(database, settings, Registration(database, address))
        with running(uvicorn.Server(uvicorn.Config(app, log_level="warning")), [listener]):
            yield address


@contextmanager
def running_api(settings: Settings) -> Iterator[TestClient]:
    """Run a predictor and an API before it; gives a client of the API."""
    with running_predictor(settings), TestClient(api.create_app(settings), "http://127.0.0.1:8000") as client:
        yield client


def predict_plainly(file: Path, images: list[bytes]) -> tuple[list[str], torch.Tensor]:
    """Predict with a delivered file as the guide says, one image at a time: names of classes, and probabilities."""
    with safe_open(file, "pt") as opened:
        metadata = dict(opened.metadata())
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no dict
    network = _build(metadata, tensors)
    config = resolve_data_config({}, pretrained_cfg=json.loads(metadata["pretrained_cfg"]))
    transform = create_transform(**config, is_training=False)
    with torch.no_grad():
        inputs = [transform(Image.open(io.BytesIO(image)).convert("RGB"))[None] for image in images]
        logits = torch.cat([network(one) for one in inputs])
    is_multi_label = metadata["task"] == "multi_label"
    return json.loads(metadata["class_names"]), logits.sigmoid() if is_multi_label else logits.softmax(1)


def _build(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> Any:
    if "graph" in metadata:
        namespace: dict[str, Any] = {}
        exec(write_source(json.loads(metadata["graph"])), namespace)
        alone = namespace["Network"]()
        alone.load_state_dict(tensors)
        return alone.eval()
    architecture, classes = metadata["architecture"], json.loads(metadata["num_classes"])
    if architecture.startswith("torchvision/"):
        made = torchvision.models.get_model(architecture.removeprefix("torchvision/"), num_classes=classes)
    else:
        made = timm.create_model(architecture, num_classes=classes, **json.loads(metadata["model_args"]))
    return rebuild(made, metadata.get("replaced", "{}"), tensors)
