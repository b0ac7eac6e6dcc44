"""Pretrain the backbone that ships with the demo, reproducible to the byte: `make demo-backbone`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch
from rich.progress import track
from torch.nn.functional import cross_entropy

from demo.rendering import DRAWINGS, SIDE, render
from models.runtime.checkpoint_file import write

if TYPE_CHECKING:
    from torch import nn

FOLDER = Path(__file__).parent / "backbones" / "rendered_shapes"
ARCHITECTURE = "test_resnet"
STEPS, BATCH = 2000, 64
PEAK_RATE, WEIGHT_DECAY = 4e-3, 0.05
HELD_OUT = 2048
MEAN, STD = 0.5, 0.25

CONFIG = {
    "architecture": ARCHITECTURE,
    "num_classes": len(DRAWINGS),
    "pretrained_cfg": {
        "tag": "rendered_shapes",
        "custom_load": False,
        "input_size": [3, SIDE, SIDE],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "num_classes": len(DRAWINGS),
        "pool_size": [2, 2],
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "apache-2.0",
    },
}

CARD = """\
---
license: apache-2.0
library_name: timm
---
# rendered_shapes

A small network that ships with Graft so that its demo runs where no model hub can be reached. It is timm's
`{architecture}` ({parameters:,} parameters, {size:,} bytes with its weights in half precision), pretrained by
`make demo-backbone` on images of {side} x {side} pixels that a program draws: {classes} classes of letters and shapes
in random colours, turned, stretched, blurred, pixelated and noisy. It has seen {images:,} of them, no photograph, and
no digit.

- Accuracy on {held_out:,} drawn images that it was not trained on: {accuracy:.1%}.
- Good for: line drawings, glyphs, simple symbols on small images, and for trying Graft out.
- Not good for: photographs. Take a backbone that was pretrained on photographs for those.
"""


def pretrain(steps: int) -> nn.Module:
    """Train for some steps in one thread, seeded; return the network with weights in half precision."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(ARCHITECTURE, num_classes=len(DRAWINGS))
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    random = np.random.default_rng(0)
    network.train()
    for _ in track(range(steps), "Pretraining"):
        images, labels = draw_batch(BATCH, random)
        loss = cross_entropy(network(images), labels, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval().half()


def draw_batch(size: int, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw normalized images (size, 3, SIDE, SIDE) and their classes (size,)."""
    labels = random.integers(0, len(DRAWINGS), size)
    images = np.stack([render(int(label), random) for label in labels])
    scaled = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return scaled, torch.from_numpy(labels)


@torch.inference_mode()
def measure_accuracy(network: nn.Module) -> float:
    """Measure the accuracy on held-out drawn images."""
    images, labels = draw_batch(HELD_OUT, np.random.default_rng(1))
    correct = network.float().eval()(images).argmax(1) == labels
    return float(correct.float().mean())


def save(network: nn.Module, folder: Path) -> None:
    """Write the network in the layout of the Hugging Face Hub, with its card."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "model.safetensors", network.state_dict(), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    card = CARD.format(
        architecture=ARCHITECTURE,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        size=(folder / "model.safetensors").stat().st_size,
        side=SIDE,
        classes=len(DRAWINGS),
        images=STEPS * BATCH,
        held_out=HELD_OUT,
        accuracy=measure_accuracy(network),
    )
    (folder / "README.md").write_text(card)


def main() -> None:
    """Pretrain and save."""
    started = time.monotonic()
    save(pretrain(STEPS), FOLDER)
    print(f"{FOLDER} written after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
