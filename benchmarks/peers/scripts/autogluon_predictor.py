"""AutoGluon's MultiModalPredictor with its own defaults: the whole network is trained, layers below more slowly.

With the option best_quality, by that preset.

Its timm is too old for `local-dir:`, so the network comes from the Hub's cache on this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import pandas
from autogluon.multimodal import MultiModalPredictor


def main(images: Path, backbone: Path, seed: int, preset: str | None = None) -> None:
    """Train and print the outcome."""
    began = time.perf_counter()
    train, validation, test = (list_images(images / part) for part in ("train", "val", "test"))
    with tempfile.TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=folder)
        predictor.fit(
            train,
            tuning_data=validation,
            presets=preset,
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": f"hf-hub:local/{backbone.name}",
            },
            seed=seed,
        )
        outcome = {
            "validation": predictor.evaluate(validation, metrics=["accuracy"])["accuracy"],
            "test": predictor.evaluate(test, metrics=["accuracy"])["accuracy"],
            "epochs": None,
            "epoch_seconds": None,
            "seconds": time.perf_counter() - began,
        }
    print(json.dumps(outcome))


def list_images(folder: Path) -> pandas.DataFrame:
    """List the images of a folder, with path and class."""
    rows = [(str(path), path.parent.name) for path in sorted(folder.glob("*/*"))]
    return pandas.DataFrame(rows, columns=["image", "label"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
