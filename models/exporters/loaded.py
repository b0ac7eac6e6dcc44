"""A checkpoint's network with the images of its job, as the job split and prepared them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from models.backbones import imported
from models.backbones.checkpoint_folder import read_metadata
from models.exporters.parity import concatenate, render
from models.features.engines.normalize import Normalize
from models.networks.types import as_module
from models.pipeline.setup import split_pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from torch import nn

    from models.catalog.recipe import Recipe
    from models.datasets.pack import Pack
    from models.exporters.parity import Run
    from models.images.preprocessing import Preprocessing
    from models.training.inputs import Subset


class ExportRequest(NamedTuple):
    """A checkpoint, and the format to write it in."""

    checkpoint: str
    folder: Path
    """Has the checkpoint as model.safetensors; config.json and graph.json are written beside it."""
    file: Path
    format: str
    options: dict[str, Any]
    recipe: Recipe
    """Of the job, by which its images were split."""


class Loaded(NamedTuple):
    """A checkpoint's network, and the images of its job."""

    network: nn.Module
    preprocessing: Preprocessing
    metadata: dict[str, str]
    classes: list[str]
    pack: Pack
    train: Subset
    validation: Subset
    test: Subset


def load(request: ExportRequest, pack: Pack) -> Loaded:
    """Load the network of a checkpoint, and split the images of its job as the job did."""
    backbone = imported.load(request.checkpoint, request.folder, None)
    metadata = read_metadata(request.checkpoint, request.folder / "model.safetensors")
    classes = backbone.pretrained_cfg["label_names"]
    train, validation, test = split_pack(pack, len(classes), request.recipe)
    network = as_module(backbone.network).eval()
    return Loaded(network, backbone.preprocessing, metadata, list(classes), pack, train, validation, test)


def compute(loaded: Loaded, run: Run, heartbeat: Callable[[], None]) -> np.ndarray:
    """Compute the logits of the job's test images, (n, C)."""
    parts = []
    for batch in render(loaded.pack, loaded.test.images, loaded.preprocessing):
        parts.append(run(batch))
        heartbeat()
    return concatenate(parts, len(loaded.classes))


def run_network(loaded: Loaded) -> Run:
    """Build the function that runs the checkpoint's network on pixels."""
    normalize = Normalize(loaded.preprocessing)

    @torch.no_grad()
    def run(pixels: np.ndarray) -> np.ndarray:
        logits: np.ndarray = loaded.network(normalize(torch.from_numpy(pixels))).numpy()
        return logits

    return run


def prepare(loaded: Loaded, pixels: np.ndarray) -> np.ndarray:
    """Normalize pixels (B, 3, H, W) to the network's input."""
    images: np.ndarray = Normalize(loaded.preprocessing)(torch.from_numpy(pixels)).contiguous().numpy()
    return images


def render_first_batch(loaded: Loaded) -> np.ndarray:
    """Render the first test images."""
    return next(iter(render(loaded.pack, loaded.test.images, loaded.preprocessing)))
