"""Write the folder of an imported backbone, and load it back: config.json, model.safetensors, graph.json."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from models.backbones import imported
from models.backbones.local import WEIGHTS
from models.backbones.structure import CONFIG, REPLACED
from models.importers.errors import ImportRejected
from models.importers.events import ImportedSummary, WrittenFile
from models.networks import graph_file
from models.networks.graph_network import GraphNetwork
from models.networks.replaced_layers import describe_layers
from models.networks.types import as_module
from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.backbones.backbone import Backbone
    from models.importers.preprocessing import Decision
    from models.importers.reader import ReadNetwork
    from models.networks.types import TimmNetwork

GRAPH = "graph.json"
NAME = "bb_import"
"""What messages call the backbone, which has no name yet."""
BLOCK = 1 << 20


def write_folder(folder: Path, read: ReadNetwork, decision: Decision, labels: list[str] | None) -> None:
    """Write a network with its configuration; the same bytes for the same network."""
    cfg: dict[str, Any] = {**read.pretrained_cfg, **decision.cfg}
    if labels is not None:
        cfg["label_names"] = labels
    if read.licence is not None:
        cfg["license"] = read.licence
    write_network(folder, read.network, read.architecture, read.model_args, cfg)


def write_network(
    folder: Path, network: TimmNetwork, architecture: str, model_args: dict[str, Any], cfg: dict[str, Any]
) -> None:
    """Write a network with how it is built, and with timm's configuration; the same bytes for the same network."""
    module = as_module(network)
    config = {
        "architecture": architecture,
        "num_classes": network.num_classes,
        "pretrained_cfg": {**cfg, "num_classes": network.num_classes},
        "model_args": model_args,
    }
    replaced: Sequence[str] = getattr(module, "replaced", ())
    if replaced:
        config[REPLACED] = {path: describe_layers(module.get_submodule(path)) for path in replaced}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if isinstance(module, GraphNetwork):
        description = graph_file.describe(module)
        (folder / GRAPH).write_text(json.dumps(description, separators=(",", ":")) + "\n")
    checkpoint_file.write(folder / WEIGHTS, module.state_dict(), {})


@torch.inference_mode()
def load_folder(folder: Path, read: ReadNetwork, images: torch.Tensor) -> Backbone:
    """Load the folder as jobs will, and check that the network gives the same outputs to the bit.

    Raises ImportRejected and BackboneError.
    """
    _align_weights(as_module(read.network))
    expected = read.network(images)
    backbone = imported.load_folder(NAME, folder)
    if not torch.equal(backbone.network(images), expected):
        raise ImportRejected(
            "folder_differs",
            f"The network that was written down as {read.architecture} does not load as it was read. Please report "
            "this file; no backbone is made of it.",
        )
    return backbone


def _align_weights(module: torch.nn.Module) -> None:
    """Copy weights to memory of their own, contiguous and aligned, as a loaded network has them.

    Those of a memory-mapped file, or of a slice, lie anywhere, and torch sums them in another order there.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)


def summarize(backbone: Backbone, inspection: Mapping[str, Any]) -> ImportedSummary:
    """Summarize a backbone for lists; its inspection is of `models.networks.candidate_cuts.inspect`."""
    return ImportedSummary(
        architecture=backbone.architecture,
        parameters=inspection["parameters"],
        input_size=backbone.preprocessing.input_size,
        licence=backbone.licence,
        multiply_adds=inspection.get("multiply_adds"),
    )


def list_files(folder: Path) -> dict[str, WrittenFile]:
    """List the files of a folder with their sizes and digests."""
    return {file.name: _describe(file) for file in sorted(folder.iterdir()) if file.is_file()}


def _describe(path: Path) -> WrittenFile:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return WrittenFile(bytes=path.stat().st_size, digest=digest.hexdigest())
