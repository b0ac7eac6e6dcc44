"""Folders as zip: a bundle that needs the listed packages alone, and a folder as on the Hugging Face Hub."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import timm
import torch

from models.backbones.structure import CONFIG
from models.exporters import figures, model_card, predict_program
from models.exporters.errors import NetworkUnsupported
from models.exporters.loaded import compute, prepare
from models.exporters.parity import compare, require_parity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from models.exporters.loaded import ExportRequest, Loaded

WEIGHTS = "model.safetensors"
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""Time of every file in an archive, so that the same content gives the same bytes."""


def export(
    request: ExportRequest, loaded: Loaded, expected: np.ndarray, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    """Write a bundle, or a folder of the Hub, as zip; returns the report. Raises ExportError."""
    folder = request.file.parent / "content"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(request.folder / WEIGHTS, folder / WEIGHTS)
    is_hub = request.format == "hub"
    write, measure = (_write_hub, _measure_hub) if is_hub else (_write_bundle, predict_program.measure)
    write(loaded, folder, expected)
    (folder / "README.md").write_text(model_card.write(loaded.metadata, for_hub=is_hub))
    report = measure(folder, loaded, expected, heartbeat)
    with zipfile.ZipFile(request.file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, FIXED_TIME), path.read_bytes())
    return {**report, "files": sorted(path.name for path in folder.iterdir())}


def _write_hub(loaded: Loaded, folder: Path, _: np.ndarray) -> None:
    """Write the configuration of a folder of timm. Raises NetworkUnsupported."""
    metadata = loaded.metadata
    architecture = metadata["architecture"]
    if "/" in architecture or architecture == "graph" or json.loads(metadata.get("replaced", "{}")):
        raise NetworkUnsupported(
            f"timm cannot load this network ({architecture}, or layers in place of timm's own) from a folder of the "
            "Hub. Use format=bundle."
        )
    config = {
        "architecture": architecture,
        "num_classes": int(metadata["num_classes"]),
        "label_names": loaded.classes,
        "model_args": json.loads(metadata["model_args"]),
        "pretrained_cfg": {**json.loads(metadata["pretrained_cfg"]), "license": metadata["licence"]},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2))


def _measure_hub(folder: Path, loaded: Loaded, expected: np.ndarray, heartbeat: Callable[[], None]) -> dict[str, Any]:
    """Compare the network that timm loads from a folder with the expected logits. Raises ParityBroken."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    @torch.no_grad()
    def run(pixels: np.ndarray) -> np.ndarray:
        logits: np.ndarray = network(torch.from_numpy(prepare(loaded, pixels))).numpy()
        return logits

    parity = compare(compute(loaded, run, heartbeat), expected, is_multi_label=loaded.pack.is_multi_label)
    require_parity(parity, "hub", lambda: "its layers, as timm loads them")
    return {"parity": parity}


def _write_bundle(loaded: Loaded, folder: Path, expected: np.ndarray) -> None:
    """Write labels, preprocessing, metrics, figures and predict.py."""
    metadata = loaded.metadata
    metrics = json.loads(metadata["metrics"])
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in loaded.classes))
    preprocessing = {**loaded.preprocessing.to_dict(), "decoding": json.loads(metadata["decoding"])}
    (folder / "preprocessing.json").write_text(json.dumps(preprocessing, indent=2))
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))
    (folder / "requirements.txt").write_text(predict_program.REQUIREMENTS)
    if metadata["architecture"] == "graph":
        (folder / "network.py").write_text(metadata["python"])
    program = predict_program.write(metadata, is_multi_label=loaded.pack.is_multi_label)
    (folder / "predict.py").write_text(program)
    confusion = (metrics.get("test") or {}).get("confusion_matrix")
    if confusion:
        figures.draw_confusion_matrix(confusion, loaded.classes).save(folder / "confusion_matrix.png")
        figures.draw_reliability(expected, loaded.test.labels).save(folder / "reliability.png")
