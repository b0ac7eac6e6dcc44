"""Parity of exports: `make parity DATASET=path BACKBONE=local/NAME`.

A whole service fine-tunes once and exports the checkpoint in every format. Each file is then run on every test image in
its own runtime: in a process that finds the packages alone which the format needs. Its logits are compared with those
of the checkpoint's own file. bundle, hub and ONNX with resizing get the images' files; the others get images that are
prepared as timm does.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.alone import link_packages, run_alone
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.assembly import assemble
from graft.client import Client
from models.catalog.recipe import Recipe
from models.datasets.pack import Pack
from models.exporters import parity
from models.exporters.loaded import ExportRequest, Loaded, compute, load, prepare, run_network
from service.database import Database
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from graft.record import Fields

OPENING = """file, inputs, target = sys.argv[1:]
from pathlib import Path
import numpy
"""
ARRAY = """array = numpy.load(inputs, mmap_mode="r")
batches = (numpy.array(array[start:start + 32]) for start in range(0, len(array), 32))
"""
FILES = "paths = sorted(Path(inputs).iterdir())\n"
ONNX = """import onnxruntime
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
logits = [session.run(None, {"images": images})[0] for images in batches]
"""
OPENED = """from PIL import Image
batches = (numpy.asarray(Image.open(path).convert("RGB"))[None] for path in paths)
"""
PT2 = """import torch
network = torch.export.load(file).module()
with torch.no_grad():
    logits = [network(torch.from_numpy(images)).numpy() for images in batches]
"""
BUNDLE = """sys.path.append(file)
import predict
logits = [predict.compute_logits(predict.open_image(path))[None].numpy() for path in paths]
"""
HUB = """import timm, torch
from PIL import Image
network = timm.create_model(f"local-dir:{file}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
with torch.no_grad():
    logits = [network(transform(Image.open(path).convert("RGB"))[None]).numpy() for path in paths]
"""
CLOSING = "numpy.save(target, numpy.concatenate(logits))\n"
OF_TIMM = ("torch", "torchvision", "timm", "safetensors", "pillow", "numpy")
"""Packages that a bundle lists."""


class Form(NamedTuple):
    """A format with options, the kind of its input, the program that runs it, and the packages of that."""

    name: str
    format: str
    options: dict[str, str]
    inputs: str
    program: str
    packages: tuple[str, ...]


PIXELS, PREPARED, IMAGES = "pixels.npy", "prepared.npy", "images"
FORMS = (
    Form("onnx", "onnx", {}, PREPARED, ARRAY + ONNX, ("onnxruntime", "numpy")),
    Form("onnx, preprocessing", "onnx", {"preprocessing": "true"}, PIXELS, ARRAY + ONNX, ("onnxruntime", "numpy")),
    Form(
        "onnx, preprocessing, resize",
        "onnx",
        {"preprocessing": "true", "resize": "true"},
        IMAGES,
        FILES + OPENED + ONNX,
        ("onnxruntime", "numpy", "pillow"),
    ),
    Form("pt2", "pt2", {}, PREPARED, ARRAY + PT2, ("torch", "numpy")),
    Form("bundle", "bundle", {}, IMAGES, FILES + BUNDLE, OF_TIMM),
    Form("hub", "hub", {}, IMAGES, FILES + HUB, OF_TIMM),
    Form("onnx, int8", "onnx", {"precision": "int8"}, PREPARED, ARRAY + ONNX, ("onnxruntime", "numpy")),
)


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    chosen = build_parser("make parity", __doc__).parse_args()
    print(f"{describe()}\n", flush=True)
    with scratch(chosen.dataset) as (folder, dataset):
        data = folder / "data"
        with standalone(data, BACKBONES) as address, Client(address) as client:
            ready = client.wait_for_dataset(client.create_dataset(dataset)["id"])
            job = client.wait(client.create_job(ready["id"], chosen.backbone)["id"])
            checkpoint = job["checkpoints"][0]
            loaded = load_checkpoint(client, checkpoint, job, Settings(data=data), folder)
            write_inputs(loaded, folder)
            expected = compute(loaded, run_network(loaded), lambda: None)
            labels = loaded.test.labels
            print(f"{dataset.name}, {chosen.backbone}: {len(labels)} test images, accuracy {score(expected, labels)}\n")
            print(
                "| format | equal labels | greatest difference | of the greatest logit | accuracy |\n"
                "|---|---|---|---|---|"
            )
            for form in FORMS:
                file = client.export(checkpoint, folder / f"export.{form.format}", form.format, **form.options)
                logits = run(form, file, folder)
                found = parity.compare(logits, expected, is_multi_label=False)
                print(
                    f"| {form.name} | {found['equal_labels']:.2%} | {np.abs(logits - expected).max():.1e} | "
                    f"{found['greatest_relative_difference']:.1e} | {score(logits, labels)} |",
                    flush=True,
                )
            assemble_head(client, checkpoint, chosen.backbone, folder)


def load_checkpoint(client: Client, checkpoint: str, job: Fields, settings: Settings, folder: Path) -> Loaded:
    """Load a checkpoint's file, and the images of its job as they were split."""
    whole = folder / "checkpoint"
    whole.mkdir()
    client.download(checkpoint, whole / "model.safetensors")
    database = Database(settings.database)
    with database.reading() as session:
        row = session.get_one(Dataset, job["dataset"])
    database.close()
    assert row.pack is not None
    assert row.index is not None
    pack = Pack(*(Storage(settings.storage).local_path(key, folder) for key in (row.pack, row.index)))
    recipe = Recipe.model_validate(job["recipe"])
    return load(ExportRequest(checkpoint, whole, folder / "unused", "onnx", {}, recipe), pack)


def write_inputs(loaded: Loaded, folder: Path) -> None:
    """Write the test images: their files, their pixels as timm resizes them, and what the network takes of these."""
    batches = list(parity.render(loaded.pack, loaded.test.images, loaded.preprocessing))
    np.save(folder / PIXELS, np.concatenate(batches).transpose(0, 2, 3, 1))
    np.save(folder / PREPARED, np.concatenate([prepare(loaded, batch) for batch in batches]))
    (folder / IMAGES).mkdir()
    for place, image in enumerate(loaded.test.images.tolist()):
        (folder / IMAGES / f"{place:06}").write_bytes(loaded.pack.read_file(image))


def run(form: Form, file: Path, folder: Path) -> np.ndarray:
    """Run the exported file in its own runtime; returns the logits of the test images, (n, C)."""
    packages = folder / "-".join(form.packages)
    if form.format in ("bundle", "hub"):
        shutil.unpack_archive(file, folder / form.format, "zip")
        file = folder / form.format
    if not packages.exists():
        link_packages(form.packages, packages)
    target = folder / "logits.npy"
    run_alone(OPENING + form.program + CLOSING, packages, file, folder / form.inputs, target)
    logits: np.ndarray = np.load(target)
    return logits


def score(logits: np.ndarray, labels: np.ndarray) -> str:
    """Format the accuracy of logits."""
    return f"{np.mean(logits.argmax(1) == labels):.2%}"


def assemble_head(client: Client, checkpoint: str, backbone: str, folder: Path) -> None:
    """Assemble the whole file of the head and the backbone's own file, and print whether it is the same."""
    head = client.export(checkpoint, folder / "head", "head")
    made = assemble(head, BACKBONES / backbone.partition("/")[2], folder / "assembled")
    is_same = made.read_bytes() == (folder / "checkpoint" / "model.safetensors").read_bytes()
    print(f"\nhead, {head.stat().st_size:,} bytes, assembled: {'the same bytes' if is_same else 'OTHER BYTES'}")


if __name__ == "__main__":
    main()
