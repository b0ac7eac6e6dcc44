"""Folders of imported backbones, written and loaded back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.catalog.preprocessing import GivenPreprocessing
from models.importers.backbone_folder import load_folder, write_folder
from models.importers.preprocessing import decide
from models.networks.types import as_module
from tests.support.imported_networks import MEAN, STD, as_read, make_graph, make_images, make_network

if TYPE_CHECKING:
    from pathlib import Path


def misalign(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to memory that begins 20 bytes after a multiple of 64, as in a memory-mapped file."""
    memory = torch.zeros(tensor.numel() + 32, dtype=tensor.dtype)
    start = ((64 - memory.data_ptr() % 64) // 4) % 16 + 5
    copy = memory[start : start + tensor.numel()].view(tensor.shape)
    return copy.copy_(tensor)


def test_weights_that_lie_anywhere_in_memory_load_as_they_were(tmp_path: Path) -> None:
    read = as_read(make_graph(make_network()))
    module = as_module(read.network)
    for tensor in module.parameters():
        tensor.data = misalign(tensor.data)
    given = GivenPreprocessing(mean=(MEAN,) * 3, std=(STD,) * 3)
    write_folder(tmp_path, read, decide(read, given), None)
    images = torch.from_numpy(make_images(3)["rendered"])
    backbone = load_folder(tmp_path, read, images)
    assert {tensor.data_ptr() % 64 for tensor in module.parameters()} == {0}
    assert torch.equal(backbone.network(images), module(images))
