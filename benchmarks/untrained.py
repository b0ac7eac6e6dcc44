"""Write a network with random weights as a local backbone: `python -m benchmarks.untrained resnet50 backbones/`.

It is as fast as the pretrained network, whose weights may not be available; its accuracy means nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def write_backbone(architecture: str, directory: Path) -> Path:
    """Write config.json and weights to the folder `directory/architecture`."""
    torch.manual_seed(0)
    network = timm.create_model(architecture)
    folder = directory / architecture
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    about = {"architecture": architecture, "num_classes": network.num_classes, "pretrained_cfg": network.pretrained_cfg}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


if __name__ == "__main__":
    print(write_backbone(sys.argv[1], Path(sys.argv[2])))
