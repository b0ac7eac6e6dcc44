"""Hand-written training loop of a good engineer: timm's frozen network, run again each epoch, and a new linear head."""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import time
from pathlib import Path

import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

BATCH, MOST_EPOCHS, PATIENCE = 32, 100, 5


def main(folder: Path, backbone: Path, seed: int) -> None:
    """Train with early stopping and print the outcome."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    trunk = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=0)
    trunk.eval().to(memory_format=torch.channels_last)
    config = resolve_model_data_config(trunk)
    plain = create_transform(**config, is_training=False)
    mean_and_std = config["mean"], config["std"]
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                config["input_size"][1:], scale=(0.7, 1.0), interpolation=plain.transforms[0].interpolation
            ),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize(*mean_and_std),
        ]
    )
    train, validation, test = (
        DataLoader(
            ImageFolder(folder / part, augmented if part == "train" else plain),
            batch_size=BATCH,
            shuffle=part == "train",
            num_workers=os.cpu_count() or 1,
            persistent_workers=part != "test",
        )
        for part in ("train", "val", "test")
    )
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(trunk.num_features, len(train.dataset.classes)))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    lowest, best, waited = float("inf"), head.state_dict(), 0
    seconds: list[float] = []
    while len(seconds) < MOST_EPOCHS and waited < PATIENCE:
        started = time.perf_counter()
        head.train()
        for images, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(extract_features(trunk, images)), labels).backward()
            optimizer.step()
        loss, _ = evaluate(trunk, head, validation)
        waited += 1
        if loss < lowest:
            lowest, best, waited = loss, copy.deepcopy(head.state_dict()), 0
        seconds.append(time.perf_counter() - started)
    head.load_state_dict(best)
    outcome = {
        "validation": evaluate(trunk, head, validation)[1],
        "test": evaluate(trunk, head, test)[1],
        "epochs": len(seconds),
        "epoch_seconds": statistics.median(seconds),
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(outcome))


def extract_features(trunk: nn.Module, images: Tensor) -> Tensor:
    """Compute the frozen network's features of a batch, (B, D)."""
    with torch.inference_mode():
        found = trunk(images.to(memory_format=torch.channels_last))
    return found.clone()  # an ordinary tensor again, which the head's gradient may keep


def evaluate(trunk: nn.Module, head: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Compute loss and accuracy on plain images."""
    head.eval()
    loss, correct, seen = 0.0, 0, 0
    with torch.inference_mode():
        for images, labels in loader:
            logits = head(trunk(images.to(memory_format=torch.channels_last)))
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
    return loss / seen, correct / seen


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
