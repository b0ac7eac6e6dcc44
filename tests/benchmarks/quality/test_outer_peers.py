"""Inputs of peers in environments of their own."""

from __future__ import annotations

from pathlib import Path

import timm

from benchmarks.peers import peer
from benchmarks.quality.cell import BackboneFiles
from benchmarks.quality.outer_peers import OUTER_PEERS, write_resized

SMALL = Path(__file__).parents[3] / "demo" / "backbones" / "rendered_shapes"


def test_scripts_read_the_size_of_images_in_the_copied_configuration(tmp_path: Path) -> None:
    copied = write_resized(BackboneFiles("local/rendered_shapes", SMALL), 48, tmp_path)
    network = timm.create_model(f"local-dir:{copied}", pretrained=True)
    assert network.pretrained_cfg["input_size"] == [3, 48, 48]
    assert (copied / "model.safetensors").read_bytes() == (SMALL / "model.safetensors").read_bytes()


def test_each_peer_has_a_script() -> None:
    assert all((peer.SCRIPTS / f"{name}.py").is_file() for name, _ in OUTER_PEERS.values())
