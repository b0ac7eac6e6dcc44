"""fastai's vision_learner with its own head and augmentation: its frozen body for five epochs of one cycle.

With the option fine_tune, one epoch with the frozen body, and then ten of everything.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from fastai.vision.all import (
    Callback,
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    set_seed,
    vision_learner,
)

EPOCHS, FINE_TUNED = 5, 10


class Stopwatch(Callback):
    """Measures the seconds of each epoch, validation included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_epoch(self) -> None:
        self.began = time.perf_counter()

    def after_epoch(self) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main(images: Path, backbone: Path, seed: int, option: str = "") -> None:
    """Train and print the outcome."""
    began = time.perf_counter()
    set_seed(seed)
    side = json.loads((backbone / "config.json").read_text())["pretrained_cfg"]["input_size"][1]
    # It leaves out an incomplete batch: of fewer images than one batch, none would be trained on.
    batch = min(64, len(get_image_files(images / "train")) // 2)
    loaders = ImageDataLoaders.from_folder(
        images, train="train", valid="val", bs=batch, item_tfms=Resize(side), batch_tfms=aug_transforms()
    )
    stopwatch = Stopwatch()
    learner = vision_learner(loaders, f"local-dir:{backbone}", metrics=accuracy, cbs=stopwatch)
    with learner.no_bar():
        if option == "fine_tune":
            learner.fine_tune(FINE_TUNED)
        else:
            learner.fit_one_cycle(EPOCHS)
        tested = learner.dls.test_dl(get_image_files(images / "test"), with_labels=True)
        outcome = {
            "validation": learner.validate()[1],
            "test": learner.validate(dl=tested)[1],
            "epochs": 1 + FINE_TUNED if option == "fine_tune" else EPOCHS,
            "epoch_seconds": statistics.median(stopwatch.seconds),
            "seconds": time.perf_counter() - began,
        }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
