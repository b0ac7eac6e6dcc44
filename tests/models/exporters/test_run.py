"""Exports of a small fine-tune, run in the runtimes of their formats."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from graft.images import open_image
from models.catalog.recipe import Recipe
from models.exporters import onnx_model, parity, predict_program, torch_export_file
from models.exporters.errors import NetworkUnsupported, ParityBroken
from models.exporters.loaded import ExportRequest
from models.exporters.run import export
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from tests.support.image_files import deep_png
from tests.support.images import coloured_classes, encoded, write_zip
from tests.support.small_job import CLASSES, small_job
from tests.support.small_pack import packed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.small_job import Job

JOB = "ckpt_01M8HY01NN7RCPQDR2N7G6JFWJ"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small job that has written its checkpoint."""
    job = small_job(tmp_path_factory.mktemp("job"), epochs=2)
    list(fine_tune(*job))
    return job


def run(job: Job, folder: Path, format: str, **options: Any) -> tuple[Path, dict[str, Any]]:
    """Export the job's checkpoint; the file and its report."""
    (folder / "checkpoint").mkdir()
    shutil.copy(job.checkpoint, folder / "checkpoint" / "model.safetensors")
    recipe = Recipe.model_validate({"epochs": 2})
    request = ExportRequest(JOB, folder / "checkpoint", folder / "file", format, options, recipe)
    return request.file, export(request, job.pack, lambda: None)


def reference(job: Job) -> torch.nn.Module:
    """The delivered network in plain timm."""
    network: torch.nn.Module = timm.create_model("test_resnet", num_classes=3)
    network.load_state_dict(load_file(job.checkpoint))
    return network.eval()


def test_onnx_gives_the_networks_logits_for_any_batch(job: Job, tmp_path: Path) -> None:
    file, report = run(job, tmp_path, "onnx")
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [report["opset"]]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == CLASSES
    session = onnxruntime.InferenceSession(file)
    for size in (1, 5):
        images = torch.randn(size, 3, 32, 32)
        with torch.no_grad():
            expected = reference(job)(images).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, rtol=1e-4, atol=1e-5)
    assert report["parity"]["images"] > 0
    assert report["parity"]["equal_labels"] == 1.0
    assert report["parity"]["greatest_relative_difference"] <= 1e-4


def test_onnx_takes_pixels_and_gives_probabilities_where_asked(job: Job, tmp_path: Path) -> None:
    file, _ = run(job, tmp_path, "onnx", preprocessing=True, softmax=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    (found,) = onnxruntime.InferenceSession(file).run(None, {"images": pixels})
    transform = timm.data.create_transform((3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0)
    images = torch.stack([transform(Image.fromarray(image)) for image in pixels])
    with torch.no_grad():
        expected = reference(job)(images).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_onnx_takes_images_of_any_size_where_asked(job: Job, tmp_path: Path, precision: str) -> None:
    file, report = run(job, tmp_path, "onnx", preprocessing=True, resize=True, softmax=True, precision=precision)
    assert report["parity"]["greatest_relative_difference"] <= 1e-4
    session = onnxruntime.InferenceSession(file)
    transform = timm.data.create_transform((3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0)
    for shape in ((32, 32), (90, 50), (20, 31)):
        pixels = np.full((1, *shape, 3), (220, 60, 60), np.uint8)
        pixels[:, ::2, ::3] = 90
        (found,) = session.run(None, {"images": pixels})
        with torch.no_grad():
            expected = reference(job)(transform(Image.fromarray(pixels[0]))[None]).softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "float32" else 0.2)


def test_int8_has_its_accuracy_beside(job: Job, tmp_path: Path) -> None:
    file, report = run(job, tmp_path, "onnx", precision="int8")
    kinds = {node.op_type for node in onnx.load(file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert 0.0 <= report["accuracy"] <= 1.0
    assert report["original_accuracy"] == 1.0
    assert report["calibrated_on"] > 0
    assert report["chosen_on"] > 0
    assert 0.0 <= report["expected_loss"] <= 0.01
    assert len(report["float_layers"]) < report["layers"]
    assert onnxruntime.InferenceSession(file).run(None, {"images": np.zeros((2, 3, 32, 32), np.float32)})[0].shape == (
        2,
        3,
    )


def find_pickles(file: Path) -> list[str]:
    """Names of the files in an archive that are pickles, or archives of torch, which hold one."""
    found = []
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            is_pickle = content[:1] == b"\x80" and content[1:2] <= b"\x05" and content[-1:] == b"."
            if (
                is_pickle
                or content[:2] == b"PK"
                or name.endswith((".pkl", ".pickle"))
                or b'"use_pickle":true' in content
            ):
                found.append(name)
    return found


def test_pt2_has_a_dynamic_batch_and_no_pickle(job: Job, tmp_path: Path) -> None:
    file, report = run(job, tmp_path, "pt2")
    assert find_pickles(file) == []
    program = torch.export.export(reference(job), (torch.zeros(1, 3, 32, 32),))
    torch.export.save(program, tmp_path / "with_inputs.pt2")
    assert find_pickles(tmp_path / "with_inputs.pt2") != []
    images = torch.randn(5, 3, 32, 32)
    np.save(tmp_path / "images.npy", images.numpy())
    script = (
        "import numpy, sys, torch\n"
        "network = torch.export.load(sys.argv[1]).module()\n"
        "images = torch.from_numpy(numpy.load(sys.argv[2]))\n"
        "with torch.no_grad():\n"
        "    assert network(images[:1]).shape == (1, 3)\n"
        "    numpy.save(sys.argv[3], network(images).numpy())\n"
    )
    paths = [str(file.rename(tmp_path / "a.pt2")), str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    subprocess.run([sys.executable, "-I", "-c", script, *paths], check=True)
    with torch.no_grad():
        expected = reference(job)(images).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-5)
    assert report["parity"]["equal_labels"] == 1.0


def test_a_bundle_predicts_by_itself(job: Job, tmp_path: Path) -> None:
    file, report = run(job, tmp_path, "bundle")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "bundle")
    folder = tmp_path / "bundle"
    assert report["files"] == sorted(path.name for path in folder.iterdir())
    assert report["parity"]["images"] > 0
    assert report["parity"]["equal_labels"] == 1.0
    assert report["opened_otherwise"] == 0
    assert (folder / "labels.txt").read_text().split() == CLASSES
    assert (folder / "model.safetensors").read_bytes() == job.checkpoint.read_bytes()
    assert json.loads((folder / "metrics.json").read_text())["test"]["accuracy"] == 1.0
    for name in ("confusion_matrix.png", "reliability.png"):
        with Image.open(folder / name) as image:
            assert image.format == "PNG"
    head = (folder / "README.md").read_text().split("---\n")[1]
    card = yaml.safe_load(head)
    assert (card["license"], card["pipeline_tag"]) == ("cc0-1.0", "image-classification")
    assert card["model-index"][0]["results"][0]["metrics"][0]["value"] == 1.0


def test_the_program_of_a_bundle_opens_images_as_the_training_did(job: Job, tmp_path: Path) -> None:
    file, _ = run(job, tmp_path, "bundle")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "bundle")
    noise = np.random.default_rng(0).integers(0, 1 << 16, (40, 40, 4), np.uint16)
    images = {
        "red": Image.new("RGB", (40, 40), (250, 5, 5)),
        "transparent": Image.fromarray((noise >> 8).astype(np.uint8), "RGBA"),
        "deep": Image.fromarray(noise[..., 0]),
        "cmyk": Image.fromarray((noise >> 8).astype(np.uint8), "CMYK"),
    }
    for name, image in images.items():
        image.save(tmp_path / name, "TIFF" if name == "cmyk" else "PNG")
    command = [sys.executable, "-P", str(tmp_path / "bundle" / "predict.py"), *images]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    with safe_open(job.checkpoint, "pt") as opened:
        metadata = opened.metadata()
    network = reference(job)
    config = timm.data.resolve_data_config({}, pretrained_cfg=json.loads(metadata["pretrained_cfg"]))
    transform = timm.data.create_transform(**config)
    for name in images:
        with torch.no_grad():
            expected = network(transform(open_image(tmp_path / name, metadata))[None])[0].softmax(0)
        found = ast.literal_eval(lines[name])
        assert [found[label] for label in CLASSES] == pytest.approx(expected.tolist(), abs=1e-4), name


def test_images_that_the_program_of_a_bundle_refuses_are_compared_too(tmp_path: Path) -> None:
    files = coloured_classes(3, 12)
    for name, data in files.items():
        image = Image.open(io.BytesIO(data))
        if name.startswith("blue"):  # of 8 bits, which the program opens whatever their size
            files[name] = encoded(image.resize((160, 116)))
        else:
            files[name] = deep_png(np.asarray(image).astype(np.uint16) * 16 + 15)
    deep = small_job(tmp_path, epochs=2)._replace(pack=packed(write_zip(tmp_path / "deep.zip", files)))
    list(fine_tune(*deep))
    assert deep.pack.decoding.depth == 12
    file, report = run(deep, tmp_path, "bundle")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "bundle")
    _, _, test = split_pack(deep.pack, 3, Recipe.model_validate({"epochs": 2}))
    refused = [image for image in test.images.tolist() if not deep.pack.names[image].startswith("blue")]
    assert report["opened_otherwise"] == len(refused)
    assert 0 < len(refused) < report["parity"]["images"] == len(test.images)
    (tmp_path / "deep.png").write_bytes(deep.pack.read_file(refused[0]))
    command = [sys.executable, "-P", str(tmp_path / "bundle" / "predict.py"), str(tmp_path / "deep.png")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, "graft.images" in ran.stderr) == (1, True)


def test_a_bundle_whose_program_computes_something_else_is_refused(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_program, "LOAD", f"{predict_program.LOAD}network.fc.bias.data[0] += 1\n")
    with pytest.raises(ParityBroken, match=r"bundle file's logits differ .* as predict.py loads them"):
        run(job, tmp_path, "bundle")
    shutil.rmtree(tmp_path / "checkpoint")
    monkeypatch.setattr(predict_program, "LOAD", "raise ValueError('no such layer')\n")
    with pytest.raises(ParityBroken, match=r"predict.py .* \(ValueError: no such layer\)"):
        run(job, tmp_path, "bundle")


def test_onnx_has_a_normalization_by_the_root_mean_square(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weighted = torch.nn.RMSNorm([3, 4])
    torch.nn.init.normal_(weighted.weight)
    network = torch.nn.Sequential(weighted, torch.nn.RMSNorm(4, eps=1e-3, elementwise_affine=False))
    onnx_model.write(network, torch.zeros(2, 5, 3, 4), tmp_path / "a.onnx", CLASSES, {})
    images = torch.randn(7, 5, 3, 4)
    found = onnx_model.Session(tmp_path / "a.onnx").run(images.numpy())
    torch.testing.assert_close(torch.from_numpy(found), network(images), rtol=1e-5, atol=1e-6)


def test_timm_loads_the_folder_of_the_hub(job: Job, tmp_path: Path) -> None:
    file, _ = run(job, tmp_path, "hub")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "hub")
    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(job)(images), rtol=0, atol=0)
    assert network.pretrained_cfg["label_names"] == CLASSES


def test_the_layer_where_a_file_parts_from_the_network_is_named(job: Job, tmp_path: Path) -> None:
    network = reference(job)
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    onnx_model.write(network, torch.from_numpy(images), tmp_path / "a.onnx", CLASSES, {})
    torch_export_file.write(network, torch.from_numpy(images), tmp_path / "a.pt2")
    program = torch_export_file.Program(tmp_path / "a.pt2")
    assert onnx_model.find_layer(network, tmp_path / "a.onnx", images) == "the output"
    assert program.find_layer(network, images) == "the output"
    with torch.no_grad():
        network.layer2[0].conv1.weight.mul_(1.5)
    assert onnx_model.find_layer(network, tmp_path / "a.onnx", images) == "layer2.0.act1"
    assert program.find_layer(network, images) == "layer2.0.conv1"


def test_other_logits_or_labels_are_refused() -> None:
    expected = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    near = parity.compare(expected * (1 + 1e-6), expected, is_multi_label=False)
    parity.require_parity(near, "onnx", lambda: "x")
    far = parity.compare(expected + 0.1, expected, is_multi_label=False)
    assert far["greatest_relative_difference"] == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(ParityBroken, match="part at layer3"):
        parity.require_parity(far, "onnx", lambda: "layer3")


def test_what_a_format_cannot_hold_is_named(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = torch.linalg.eigvals(images[:, 0]).real
            return values

    with pytest.raises(NetworkUnsupported, match=r"torch cannot write .*pt2"):
        onnx_model.write(Odd(), torch.zeros(2, 3, 4, 4), tmp_path / "a", CLASSES, {})


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
