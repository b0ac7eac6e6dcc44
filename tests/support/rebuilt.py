"""Rebuild a delivered network from a checkpoint, as the README does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import torch


def rebuilt(network: nn.Module, said: str, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The README's lines: `network` comes from timm.create_model, `said` is the checkpoint's."""
    for path, layers in json.loads(said).items():
        network.set_submodule(path, nn.Sequential(*(getattr(nn, kind)(**arguments) for kind, arguments in layers)))
    network.load_state_dict(tensors)
    return network.eval()
