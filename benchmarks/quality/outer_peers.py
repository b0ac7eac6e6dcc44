"""Peers in environments of their own, on the same split and weights: fastai's fine_tune, AutoGluon's best_quality."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import peer
from benchmarks.peers.inputs import Inputs, link_hub_cache, write_images
from models.backbones.structure import CONFIG

if TYPE_CHECKING:
    from benchmarks.peers.outcome import Outcome
    from benchmarks.quality.cell import BackboneFiles, Cell

OUTER_PEERS = {
    "fastai": ("fastai_learner", "fine_tune"),
    "autogluon": ("autogluon_predictor", "best_quality"),
}
"""Script and option of each."""


def run_outer_peer(method: str, cell: Cell) -> tuple[Outcome, float]:
    """Run a peer in its environment, which is installed if it is not there; raises PeerFailed.

    Returns its outcome, and the processor seconds of its process.
    """
    if cell.backbone.is_imported:
        raise peer.PeerFailed("takes backbones of timm alone")
    if cell.budget is not None:
        raise peer.PeerFailed("is measured in its own time alone")
    name, option = OUTER_PEERS[method]
    peer.install(name)
    with tempfile.TemporaryDirectory(prefix="graft-quality-") as scratch:
        folder = Path(scratch)
        write_images(cell.images.pack, cell.images.classes, cell.images.split, folder / "images")
        backbone = write_resized(cell.backbone, cell.image_size, folder)
        link_hub_cache(backbone, folder / "hub")
        inputs = Inputs(cell.images.packed, folder / "images", backbone, folder / "hub", "")
        before = os.times()
        outcome = peer.run(name, inputs, cell.seed, option)
        after = os.times()
    return outcome, after.children_user + after.children_system - before.children_user - before.children_system


def write_resized(backbone: BackboneFiles, side: int, folder: Path) -> Path:
    """Copy a backbone's folder, with this size of images in its configuration; scripts read it there."""
    copied = folder / backbone.folder.name
    shutil.copytree(backbone.folder, copied)
    config = json.loads((copied / CONFIG).read_text())
    config["pretrained_cfg"]["input_size"] = [3, side, side]
    if config["architecture"].startswith("vit"):
        config["model_args"] = {**config.get("model_args", {}), "img_size": side}
    (copied / CONFIG).write_text(json.dumps(config))
    return copied
