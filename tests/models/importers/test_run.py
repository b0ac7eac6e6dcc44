"""Whole imports: from the bytes of a file to a folder that loads as a backbone."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.backbones import imported as imported_backbones
from models.catalog.preprocessing import GivenPreprocessing
from models.importers.events import IMPORT_EVENT, Imported, Rejected
from models.importers.report import ImportReport
from models.importers.request import ImportRequest
from models.importers.run import import_backbone
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.imported_networks import MEAN, SIDE, STD, SmallNetwork, make_images, make_network

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

STATED = GivenPreprocessing(mean=(MEAN, MEAN, MEAN), std=(STD, STD, STD), channel_order="rgb")
LABELS = [f"class {number}" for number in range(10)]


def export(network: nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (torch.zeros(1, 3, SIDE, SIDE),), file, dynamo=False)
    return file.getvalue()


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    return make_network()


@pytest.fixture(scope="module")
def onnx_file(network: SmallNetwork) -> bytes:
    return export(network)


def run(data: bytes, folder: Path, **options: Any) -> list[Any]:
    file = folder / "upload"
    file.write_bytes(data)
    target = folder / "backbone"
    target.mkdir()
    events = list(import_backbone(ImportRequest(file=file, folder=target, name="net.onnx", **options), no_heartbeat))
    assert [IMPORT_EVENT.validate_json(event.model_dump_json()) for event in events] == events
    return events


def load(folder: Path) -> Any:
    return imported_backbones.load_folder("bb_test", folder)


def test_an_onnx_file_becomes_a_backbone(onnx_file: bytes, network: SmallNetwork, tmp_path: Path) -> None:
    *progress, imported = run(onnx_file, tmp_path, preprocessing=STATED, labels=LABELS)
    assert [event.stage for event in progress] == ["recognizing", "reading", "comparing", "checking", "writing"]
    assert isinstance(imported, Imported)
    report = imported.report
    assert (report.format, report.verdict, report.classes, report.labels) == ("onnx", "verified", 10, 10)
    assert report.structure is not None
    assert len(report.structure.exact_cuts) == 2
    assert report.preprocessing.assumed == ["interpolation: bilinear", "crop_pct: 0.875", "crop_mode: center"]
    assert imported.summary.architecture == "graph"
    assert imported.summary.input_size == (3, SIDE, SIDE)
    assert {cut["name"] for cut in imported.inspection["cuts"]} > set(report.structure.exact_cuts)
    assert set(imported.files) == {"config.json", "graph.json", "model.safetensors"}
    assert set(imported.files) == {file.name for file in (tmp_path / "backbone").iterdir()}
    backbone = load(tmp_path / "backbone")
    assert backbone.digest == report.digest
    assert backbone.pretrained_cfg["label_names"] == LABELS
    images = torch.from_numpy(make_images()["rendered"])
    with torch.no_grad():
        torch.testing.assert_close(backbone.network(images), network(images), rtol=1e-4, atol=1e-4)


def test_the_same_file_gives_the_same_bytes(onnx_file: bytes, tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found.append(run(onnx_file, tmp_path / name, preprocessing=STATED)[-1])
    assert found[0].files == found[1].files
    assert found[0].report.digest == found[1].report.digest


def test_missing_preprocessing_is_asked_for_after_the_comparison(onnx_file: bytes, tmp_path: Path) -> None:
    rejected = run(onnx_file, tmp_path)[-1]
    assert isinstance(rejected, Rejected)
    assert rejected.code == "preprocessing_needed"
    assert rejected.report.verdict == "verified"
    assert rejected.report.preprocessing.missing == ["mean", "std", "channel_order"]
    assert rejected.report.preprocessing.proposal is not None
    assert list((tmp_path / "backbone").iterdir()) == []


def test_bgr_is_baked_in(onnx_file: bytes, network: SmallNetwork, tmp_path: Path) -> None:
    stated = STATED.model_copy(update={"channel_order": "bgr"})
    imported = run(onnx_file, tmp_path, preprocessing=stated)[-1]
    assert isinstance(imported, Imported)
    assert any("takes BGR" in note for note in imported.report.notes)
    images = torch.from_numpy(make_images()["rendered"])
    with torch.no_grad():
        found = load(tmp_path / "backbone").network(images)
        torch.testing.assert_close(found, network(images.flip(1)), rtol=1e-4, atol=1e-4)


class TakesHalf(nn.Module):
    """A network whose images are of float16, and its weights of float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images.float())
        return output


def test_images_of_float16_are_the_same_for_both(network: SmallNetwork, tmp_path: Path) -> None:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.zeros(1, 3, SIDE, SIDE).half()
        torch.onnx.export(TakesHalf(network).eval(), (images,), file, dynamo=False)
    imported = run(file.getvalue(), tmp_path, preprocessing=STATED)[-1]
    assert isinstance(imported, Imported), imported.message
    assert imported.report.verdict == "verified"


def test_as_many_labels_as_classes_are_needed(onnx_file: bytes, tmp_path: Path) -> None:
    rejected = run(onnx_file, tmp_path, preprocessing=STATED, labels=LABELS[:9])[-1]
    assert (rejected.code, "9 labels" in rejected.message) == ("labels_unfit", True)


def test_another_format_than_the_request_says_is_rejected(onnx_file: bytes, tmp_path: Path) -> None:
    rejected = run(onnx_file, tmp_path, format="tflite")[-1]
    assert rejected.code == "format_differs"


def test_a_dead_network_is_unproven(tmp_path: Path) -> None:
    dead = make_network()
    with torch.no_grad():
        dead.classifier.weight.mul_(1e-8)
        dead.classifier.bias.fill_(1.0)
    imported = run(export(dead), tmp_path, preprocessing=STATED)[-1]
    assert isinstance(imported, Imported)
    assert imported.report.verdict == "unproven"


def test_errors_of_libraries_become_a_rejection(tmp_path: Path) -> None:
    """Whatever a reader raises on a stranger's file, the import ends with a message, and the folder stays empty."""
    rejected = run(b"\x1c\0\0\0TFL3" + bytes(range(200)), tmp_path)[-1]
    assert isinstance(rejected, Rejected)
    assert len(rejected.message) > 40
    assert isinstance(rejected.report, ImportReport)
    assert list((tmp_path / "backbone").iterdir()) == []


class ColourNetwork(nn.Module):
    """Tells red, green and blue images apart, of values from -1 to 1, in the order BGR."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 1)
        self.act = nn.ReLU()
        self.classifier = nn.Linear(6, 3)
        with torch.no_grad():
            self.convolution.weight.copy_(torch.tensor(np.eye(3)[::-1].copy()).repeat(2, 1).view(6, 3, 1, 1) * 1.01)
            self.convolution.bias.copy_(torch.tensor([0.1, 0.1, 0.1, -0.5, -0.5, -0.5]))
            self.classifier.weight.copy_(torch.eye(3).repeat(1, 2) * 4 - 1.0)
            self.classifier.bias.copy_(torch.tensor([0.0, 0.01, 0.02]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.classifier(self.act(self.convolution(images)).mean((2, 3)))
        return output


def colour_archive(**settings: Any) -> bytes:
    """Make an archive of the network with its labels, settings and samples."""
    file, random = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/net.onnx", export(ColourNetwork()))
        archive.writestr("model/labels.txt", "red\ngreen\nblue\n")
        archive.writestr("graft.json", json.dumps(settings))
        for index, name in enumerate(("red", "green", "blue")):
            for number in range(12):
                pixels = random.integers(60, 130, (24, 24, 3))
                pixels[:, :, index] += random.integers(20, 100)
                image = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(image, "png")
                archive.writestr(f"samples/{name}/{number}.png", image.getvalue())
    return file.getvalue()


def test_samples_propose_the_order_of_channels(tmp_path: Path) -> None:
    rejected = run(colour_archive(), tmp_path)[-1]
    assert rejected.code == "preprocessing_needed"
    samples, proposal = rejected.report.samples, rejected.report.preprocessing.proposal
    assert samples is not None
    assert (samples.images, samples.measured_by, samples.trials[0].accuracy) == (36, "classifier", 1.0)
    assert proposal is not None
    assert proposal.channel_order == "bgr"


def test_samples_decide_where_the_user_says_so(tmp_path: Path) -> None:
    imported = run(colour_archive(), tmp_path, preprocessing="from_samples")[-1]
    assert isinstance(imported, Imported), imported.message
    assert imported.report.preprocessing.sources["channel_order"] == "samples"
    assert imported.report.samples is not None
    assert imported.report.samples.accuracy == 1.0
    assert imported.report.labels == 3


def test_settings_beside_the_network_are_read(tmp_path: Path) -> None:
    stated = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "channel_order": "bgr"}
    imported = run(colour_archive(preprocessing=stated), tmp_path)[-1]
    assert isinstance(imported, Imported), imported.message
    assert imported.report.preprocessing.sources["std"] == "user"
    assert imported.report.samples is not None
    assert imported.report.samples.accuracy == 1.0


def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    rejected = run(colour_archive(preprocessing={"mean": "none"}), tmp_path)[-1]
    assert (rejected.code, "preprocessing.mean" in rejected.message) == ("settings_unusable", True)
