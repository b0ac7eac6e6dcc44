"""Backbones of the Hub's repositories: networks of transformers are converted once on a machine, and kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hub import COMMIT, Hub, run_hub
from tools.transformers_networks import CLASSIFIERS, TOWERS, build, write

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.extended

LOAD = """
import json, sys
import torch
from models import backbones
from models.backbones.errors import BackboneError
from models.networks.image_sizes import InputSizeUnsupported
name, side, commit = json.loads(sys.argv[1])
try:
    backbone = backbones.load(name, None, side, commit=commit)
except BackboneError as error:
    print(json.dumps({"error": error.code, "message": str(error)}))
else:
    size = backbone.preprocessing.input_size
    images = torch.linspace(-1, 1, 2 * 3 * size[1] * size[2]).reshape(2, *size)
    print(json.dumps({
        "architecture": backbone.architecture,
        "revision": backbone.revision,
        "digest": backbone.digest,
        "size": size,
        "licence": backbone.licence,
        "classes": backbone.network.num_classes,
        "outputs": backbone.network(images).tolist(),
    }))
"""
INSPECT = """
import json, sys
from models import backbones
from models.networks.candidate_cuts import inspect
config = backbones.read_config(json.loads(sys.argv[1])[0], None)
inspection = inspect(config.build_without_weights(), config.preprocessing.input_size)
print(json.dumps({"cuts": len(inspection["cuts"]), **vars(config.summarize(inspection["parameters"]))}))
"""
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}}
NAME = "hf/somebody/vit"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder of a repository of transformers."""
    folder = write(tmp_path / "hub/somebody/vit", build(*CLASSIFIERS["vit"]))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


@pytest.fixture
def hub(tmp_path: Path, repository: Path) -> Iterator[Hub]:
    """A hub with it."""
    with run_hub(tmp_path / "hub") as running:
        yield running


def start(home: Path, hub: Hub, name: str, script: str = LOAD, side: int | None = None, **more: Any) -> Any:
    """Start to load a backbone in a process of its own."""
    commit = more.pop("commit", None)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": hub.url}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps([name, side, commit])],
        env={**environment, "OMP_NUM_THREADS": "1", **more},
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def load(home: Path, hub: Hub, name: str, script: str = LOAD, side: int | None = None, **more: Any) -> dict[str, Any]:
    """Load a backbone in a process of its own."""
    output, _ = start(home, hub, name, script, side, **more).communicate(timeout=250)
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def test_is_converted_once_pinned_and_found_again_offline(tmp_path: Path, hub: Hub) -> None:
    processes = [start(tmp_path, hub, NAME) for _ in range(2)]
    first, second = (json.loads(process.communicate(timeout=250)[0].splitlines()[-1]) for process in processes)
    assert first == second
    assert (first["architecture"], first["revision"], first["licence"]) == ("graph", COMMIT, "apache-2.0")
    assert (first["size"], first["classes"]) == ([3, 64, 64], 7)
    assert hub.count_gets("model.safetensors") == 1
    assert load(tmp_path, hub, NAME, HF_HUB_OFFLINE="1") == first


def test_a_conversion_is_inspected_and_made_anew_if_it_is_damaged(tmp_path: Path, hub: Hub) -> None:
    inspected = load(tmp_path, hub, f"{NAME}@{COMMIT}", INSPECT)
    assert (inspected["source"], inspected["architecture"]) == ("hf", "ViTForImageClassification")
    assert inspected["cuts"] > 5
    first = load(tmp_path, hub, NAME)
    kept = next(tmp_path.glob("assets/graft/*/*/model.safetensors"))
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert load(tmp_path, hub, NAME, HF_HUB_OFFLINE="1") == first


def test_a_resumed_attempt_loads_the_commit_of_the_first(tmp_path: Path, hub: Hub, repository: Path) -> None:
    first = load(tmp_path, hub, NAME)
    other = "f" * 40
    shutil.copytree(repository, repository / f"@{COMMIT}")
    write(repository, build("ViTForImageClassification", {**CLASSIFIERS["vit"][1], "num_hidden_layers": 1}))
    hub.revisions |= {"main": other, other: other}
    newest = load(tmp_path, hub, NAME)
    assert (newest["revision"], newest["digest"] == first["digest"]) == (other, False)
    assert load(tmp_path / "another machine", hub, NAME, commit=COMMIT) == first


def test_is_converted_for_images_of_another_size(tmp_path: Path, hub: Hub) -> None:
    larger = load(tmp_path, hub, NAME, side=96)
    assert larger["size"] == [3, 96, 96]
    refused = load(tmp_path, hub, NAME, side=70)
    assert refused["error"] == "input_size_unsupported"
    assert "Leave image_size out" in refused["message"] or "leave image_size out" in refused["message"]


def test_a_tower_in_several_files_gives_features(tmp_path: Path, hub: Hub, repository: Path) -> None:
    shutil.rmtree(repository)
    build(*TOWERS["clip_both"]).save_pretrained(repository, max_shard_size="100KB")
    (repository / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    assert len(list(repository.glob("model-*.safetensors"))) > 1
    found = load(tmp_path, hub, NAME)
    assert (found["classes"], len(found["outputs"][0])) == (0, 32)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"preprocessor_config.json": None}, "configuration_broken", "POST /v1/backbones"),
        ({"model.safetensors": None, "pytorch_model.bin": ""}, "weights_unsafe", "refs/pr/1"),
        (
            {"config.json": {"auto_map": {"AutoModel": "code.Model"}, "model_type": "vit"}},
            "unsupported_model",
            "code.Model",
        ),
        ({"config.json": {"model_type": "bert"}}, "unsupported_model", "bert is neither"),
        ({"config.json": None}, "weights_unsafe", "timm or transformers"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(
    tmp_path: Path, hub: Hub, repository: Path, files: dict[str, Any], error: str, message: str
) -> None:
    for name, content in files.items():
        (repository / name).unlink(missing_ok=True)
        if content is not None:
            (repository / name).write_text(json.dumps(content))
    found = load(tmp_path, hub, NAME)
    assert (found["error"], message in found["message"]) == (error, True)
