"""Fixtures: what the guide takes for granted, a running service with a dataset, a job, its checkpoint and a model."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from graft.client import Client
from tests.support import deployments
from tests.support.hub import run_hub
from tests.support.images import coloured, write_tar
from tests.support.repository import ROOT
from tests.support.snippets import Interpreter, Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKBONE = "mobilenetv3_small_100.lamb_in1k"
CLASSES = ("daisy", "rose", "tulip")


def encode_jpeg(label: int, seed: int) -> bytes:
    """Make a JPEG that shows its class."""
    file = io.BytesIO()
    Image.open(io.BytesIO(coloured(label, seed))).resize((160, 120)).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder photos/: 60 images in a folder for each class."""
    folder = tmp_path_factory.mktemp("guide") / "photos"
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            (folder / name / f"{number:02}.jpg").write_bytes(encode_jpeg(label, number))
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the demo's backbone, and a hub with the backbone of which the guide speaks."""
    folder = tmp_path_factory.mktemp("service")
    weights = folder / "hub" / "timm" / BACKBONE
    weights.mkdir(parents=True)
    torch.manual_seed(0)
    architecture = BACKBONE.split(".")[0]
    save_file(timm.create_model(architecture).state_dict(), weights / "model.safetensors")
    (weights / "config.json").write_text(json.dumps({"architecture": architecture, "num_classes": 1000}))
    local = ROOT / "demo" / "backbones"
    with (
        run_hub(folder / "hub") as hub,
        deployments.embedded(folder / "data", local, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0") as address,
    ):
        yield address


@pytest.fixture(scope="session")
def ids(service: str, photos: Path) -> dict[str, str]:
    """The ids of a dataset, of a job that has succeeded and of its checkpoint; the model `flowers` points at that."""
    with Client(service) as client:
        dataset = client.wait_for_dataset(client.create_dataset(photos, name="flowers")["id"])
        job = client.create_job(dataset["id"], f"timm/{BACKBONE}", name="First", publish="flowers")
        ended = client.wait(job["id"])
        assert ended["status"] == "succeeded", ended
        return {"DATASET": dataset["id"], "JOB": ended["id"], "CHECKPOINT": ended["checkpoints"][0]}


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A folder with the images, and with the demo of the checkout."""
    (tmp_path / "photos").symlink_to(photos)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(0, 100))
    write_tar(tmp_path / "photos.tar", {f"{p.parent.name}/{p.name}": p.read_bytes() for p in photos.rglob("*.jpg")})
    (tmp_path / ".curlrc").write_text("fail-with-body\n")  # an error of the API ends curl with an error too
    return tmp_path


@pytest.fixture
def environment(service: str, ids: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of the snippets."""
    of_ours = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "HF_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{of_ours['PATH']}"
    more = {"PATH": path, "GRAFT_URL": service, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "CURL_HOME": str(folder)}
    return {**of_ours, **more, **ids}


@pytest.fixture
def shell(environment: dict[str, str], folder: Path) -> Iterator[Shell]:
    """A shell in the folder."""
    shell = Shell(folder, environment)
    yield shell
    shell.close()


@pytest.fixture
def interpreter(environment: dict[str, str], folder: Path) -> Iterator[Interpreter]:
    """A Python in the folder."""
    interpreter = Interpreter(folder, environment)
    yield interpreter
    interpreter.close()
