"""Imported backbones beside the same network from its own source: `make imports DATASET=path BACKBONE=local/NAME`.

The backbone's network is written in each format that the libraries here write, with timm's own preprocessing stated:
ONNX, weights alone (.pth, with the architecture), timm's folder as a zip; a mobilenetv2_100 besides as torchvision's
.pth and as Keras's .keras, a plain ViT as a folder of transformers. Each is uploaded, imported, and trained on by the
same job as the backbone itself; accuracies should be equal but for the noise of training. Frozen features are
compared with those of the backbone itself, in timm. `--same FILE` adds another file of the same network, `--file
FILE` one of another network, with what it does not say (preprocessing, architecture) in FILE.json beside it.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks import same_networks
from benchmarks.job import wait_for_success
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.client import Client
from models import backbones
from models.backbones.imported import load as load_imported
from models.importers.rendered_images import render_images
from models.networks.feature_network import cut_before_classifier
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.backbones.backbone import Backbone

    Options = Mapping[str, Any]


PLAIN_VITS = {f"vit_{name}_patch16_224" for name in ("tiny", "small", "base")}
"""Architectures of timm that transformers has as well."""


class Measured(NamedTuple):
    """Figures of one format."""

    name: str
    verdict: str
    features: float | None
    """Greatest difference of a frozen feature to the backbone's own in timm, as a share of the greatest."""
    difference: float | None
    """Greatest difference of an output between the original's runtime and the import."""
    share: float | None
    """The greatest difference as a share of its bound."""
    import_seconds: float
    validation: float
    test: float
    job_seconds: float


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    parser = build_parser("make imports", __doc__)
    parser.add_argument("--file", type=Path, action="append", default=[], help="a file to import besides, FILE.json")
    parser.add_argument("--same", type=Path, action="append", default=[], help="another file of the same network")
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        own = backbones.load(chosen.backbone, BACKBONES)
        files = write_files(own, folder)
        files |= {path.name: (path, read_options(path)) for path in (*chosen.same, *chosen.file)}
        others = {path.name for path in chosen.file}
        with standalone(folder / "data", BACKBONES) as address, Client(address) as client:
            made = client.wait_for_dataset(client.create_dataset(dataset)["id"])["id"]
            rows = [measure_own(client, made, chosen.backbone)]
            for name, file in files.items():
                compared = None if name in others else compute_features(own)
                rows.append(measure_import(client, made, name, *file, folder / "data" / "storage", compared))
    print(describe())
    print(f"\n{dataset.name}, {chosen.backbone}\n\n" + format_table(rows))


def write_files(backbone: Backbone, folder: Path) -> dict[str, tuple[Path, Options]]:
    """Write a backbone in each format, with what the file does not say."""
    stated = backbone.preprocessing.to_dict()
    facts = {"preprocessing": {**{key: list(stated[key]) for key in ("mean", "std")}, "channel_order": "rgb"}}
    facts["preprocessing"] |= {key: stated[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    network = as_module(backbone.network)
    onnx, weights, packed = folder / "network.onnx", folder / "weights.pth", folder / "timm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter needs no further library, and warns of its age
        torch.onnx.export(network, (torch.zeros(1, *stated["input_size"]),), str(onnx), dynamo=False)
    getattr(torch, "save")(network.state_dict(), weights)  # noqa: B009  # only benchmarks write such files
    source = BACKBONES / backbone.name.removeprefix("local/")
    shutil.make_archive(str(packed), "zip", source.parent, source.name)
    return {
        **write_for_others(backbone, folder, facts),
        "ONNX": (onnx, facts),
        ".pth with architecture": (weights, {**facts, "architecture": backbone.architecture}),
        "timm's folder": (packed.with_suffix(".zip"), {}),
    }


def write_for_others(backbone: Backbone, folder: Path, facts: Options) -> dict[str, tuple[Path, Options]]:
    """Write a backbone as other libraries have it, where they have its architecture."""
    files: dict[str, tuple[Path, Options]] = {}
    if backbone.architecture == "mobilenetv2_100":
        weights, keras = folder / "torchvision.pth", folder / "network.keras"
        same_networks.write_torchvision(backbone.network, weights)
        same_networks.write_keras(backbone.network, keras)
        files["torchvision's .pth"] = (weights, {**facts, "architecture": "torchvision/mobilenet_v2"})
        files[".keras"] = (keras, facts)
    if backbone.architecture in PLAIN_VITS:
        packed = folder / "transformers"
        same_networks.write_transformers(backbone.network, backbone.preprocessing, packed)
        files["transformers' folder"] = (Path(shutil.make_archive(str(packed), "zip", packed)), {})
    return files


@torch.no_grad()
def compute_features(backbone: Backbone) -> torch.Tensor:
    """Compute the features of rendered images, prepared as the backbone takes them."""
    size = backbone.preprocessing.input_size
    mean, std = (
        torch.tensor(three).view(3, 1, 1) for three in (backbone.preprocessing.mean, backbone.preprocessing.std)
    )
    images = (torch.from_numpy(render_images(16, *size[1:])).float() / 255 - mean) / std
    features: torch.Tensor = cut_before_classifier(backbone.network, size, {}).trunk(images)
    return features


def read_options(path: Path) -> Options:
    """Read what a file does not say from FILE.json beside it."""
    beside = path.with_name(f"{path.name}.json")
    options: Options = json.loads(beside.read_text()) if beside.is_file() else {}
    return options


def measure_own(client: Client, dataset: str, backbone: str) -> Measured:
    """Run the job on the backbone from its own source."""
    return Measured(backbone, "its own source", None, None, None, 0.0, *run_job(client, dataset, backbone))


def measure_import(
    client: Client, dataset: str, name: str, path: Path, options: Options, storage: Path, features: torch.Tensor | None
) -> Measured:
    """Import a file, compare its features with the backbone's, and run the job on it; exits if the import fails."""
    began = time.monotonic()
    imported = client.wait_for_backbone(client.create_backbone(path, options=options)["id"])
    seconds = time.monotonic() - began
    if imported["status"] != "ready":
        raise SystemExit(f"The import of {name} failed: {imported['error']}")
    report = imported["import_report"]
    found = report["numeric"]["comparisons"]
    shares = [one["greatest_difference"] / one["bound"] for one in found]
    # Noise is none of the images that the ranges of a quantized file were measured for, and is reported alone.
    rendered = [one for one in report["numeric"]["quantized"] if one["images"] == "rendered"]
    shares += [one["difference"] / one["bound"] for one in rendered]
    differences = [one["greatest_difference"] for one in found]
    compared = None
    if features is not None:
        (config,) = (storage / "backbones" / imported["id"]).glob("*/config.json")
        given = compute_features(load_imported(imported["id"], config.parent, None))
        compared = float((given - features).abs().max() / features.abs().max())
    job = run_job(client, dataset, imported["id"])
    greatest = max(differences, default=None)
    return Measured(name, report["verdict"], compared, greatest, max(shares, default=None), seconds, *job)


def run_job(client: Client, dataset: str, backbone: str) -> tuple[float, float, float]:
    """Run the job of an empty recipe; returns validation accuracy, test accuracy and seconds."""
    began = time.monotonic()
    ended = wait_for_success(client, client.create_job(dataset, backbone)["id"])
    metrics = ended["metrics"]
    return metrics["validation"]["accuracy"], metrics["test"]["accuracy"], time.monotonic() - began


def format_table(rows: list[Measured]) -> str:
    """Format the figures as a table in Markdown."""
    lines = [
        "| from | verdict | features | outputs | outputs / bound | import, s | validation | test | job, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        features, outputs = ("" if one is None else f"{one:.1e}" for one in (row.features, row.difference))
        share = "" if row.share is None else f"{row.share:.2f}"
        accuracies = f"{row.validation:.1%} | {row.test:.1%}"
        seconds = f"{row.import_seconds:.1f}"
        figures = f"{features} | {outputs} | {share} | {seconds} | {accuracies} | {row.job_seconds:.1f}"
        lines.append(f"| {row.name} | {row.verdict} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
