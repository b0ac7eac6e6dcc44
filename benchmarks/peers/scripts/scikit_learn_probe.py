"""scikit-learn on pooled features: timm's network in eager fp32 once over all images, then logistic regression."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

BATCH, STRENGTHS = 32, (0.01, 0.1, 1.0)


def main(images: Path, backbone: Path, seed: int) -> None:
    """Fit, choose C by the validation split, and print the outcome."""
    began = time.perf_counter()
    network = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=0).eval()
    train, validation, test = (extract_features(network, images / part) for part in ("train", "val", "test"))
    probes = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000, random_state=seed)).fit(*train)
        for strength in STRENGTHS
    ]
    best = max(probes, key=lambda probe: probe.score(*validation))
    outcome = {
        "validation": best.score(*validation),
        "test": best.score(*test),
        "epochs": None,
        "epoch_seconds": None,
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(outcome))


def extract_features(network: nn.Module, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Extract pooled features (n, D) and labels (n,)."""
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    loader = DataLoader(ImageFolder(folder, transform), batch_size=BATCH, num_workers=os.cpu_count() or 1)
    with torch.inference_mode():
        found = [(network(images).numpy(), labels.numpy()) for images, labels in loader]
    return np.concatenate([rows for rows, _ in found]), np.concatenate([labels for _, labels in found])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
