"""Keras's MobileNetV2 with timm's weights: frozen, run again each epoch, a new layer on it, as its guide does.

Keras has no loader for timm's files. Of this network both have the same layers in the same order, so the weights can
be carried over; they differ in two habits, which are set as timm has them: symmetric padding where the stride is 2,
and BatchNorm's epsilon. The features then agree to rounding.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import keras
from keras import layers
from safetensors.numpy import load_file

if TYPE_CHECKING:
    import numpy as np

ARCHITECTURE, EPSILON = "mobilenetv2_100", 1e-5
BATCH, MOST_EPOCHS, PATIENCE = 32, 100, 5


class Stopwatch(keras.callbacks.Callback):
    """Measures the seconds of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main(images: Path, backbone: Path, seed: int) -> None:
    """Train with early stopping and print the outcome."""
    began = time.perf_counter()
    keras.utils.set_random_seed(seed)
    card = json.loads((backbone / "config.json").read_text())
    if card["architecture"] != ARCHITECTURE:
        raise SystemExit(f"Keras benchmark supports timm's {ARCHITECTURE} only")
    config = card["pretrained_cfg"]
    side = config["input_size"][1]
    train, validation, test = (
        keras.utils.image_dataset_from_directory(
            images / part, image_size=(side, side), batch_size=BATCH, crop_to_aspect_ratio=True, seed=seed
        )
        for part in ("train", "val", "test")
    )
    trunk = build_network(side, load_file(backbone / "model.safetensors"))
    trunk.trainable = False
    inputs = keras.Input((side, side, 3))
    rendered = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(inputs))
    scaled = layers.Normalization(
        mean=[255 * mean for mean in config["mean"]], variance=[(255 * std) ** 2 for std in config["std"]]
    )(rendered)
    features = layers.Dropout(0.2)(trunk(scaled, training=False))
    model = keras.Model(inputs, layers.Dense(len(train.class_names))(features))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    stopwatch = Stopwatch()
    stopping = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    model.fit(
        train.prefetch(2),
        validation_data=validation.prefetch(2),
        epochs=MOST_EPOCHS,
        callbacks=[stopping, stopwatch],
        verbose=0,
    )
    outcome = {
        "validation": model.evaluate(validation, verbose=0)[1],
        "test": model.evaluate(test, verbose=0)[1],
        "epochs": len(stopwatch.seconds),
        "epoch_seconds": statistics.median(stopwatch.seconds),
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(outcome))


def build_network(side: int, weights: dict[str, np.ndarray]) -> keras.Model:
    """From normalized images (B, side, side, 3) to pooled features (B, 1280), as timm computes them."""
    padded = (side + 2, side + 2, 3)
    config = keras.applications.MobileNetV2(padded, include_top=False, weights=None, pooling="avg").get_config()
    for layer in config["layers"]:
        match layer["class_name"]:
            case "ZeroPadding2D":
                layer["config"]["padding"] = 1
            case "BatchNormalization":
                layer["config"]["epsilon"] = EPSILON
    next(layer for layer in config["layers"] if layer["name"] == "Conv1")["config"]["padding"] = "valid"
    model = keras.Model.from_config(config)
    weighted = [layer for layer in model.layers if layer.weights]
    for layer, name in zip(weighted, list_layers(weights), strict=True):
        layer.set_weights(convert_weights(layer, name, weights))
    return keras.Sequential([layers.ZeroPadding2D(1), model])


def list_layers(weights: dict[str, np.ndarray]) -> list[str]:
    """List timm's layers below the classifier in the order of the forward pass."""
    blocks = {re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in weights} - {None}
    ordered = ["conv_stem", "bn1"]
    for stage, block in sorted({(int(block[1]), int(block[2])) for block in blocks}):
        expanding = () if stage == 0 else ("conv_pw", "bn1")
        rest = ("conv_dw", "bn1", "conv_pw", "bn2") if stage == 0 else ("conv_dw", "bn2", "conv_pwl", "bn3")
        ordered += [f"blocks.{stage}.{block}.{layer}" for layer in expanding + rest]
    return [*ordered, "conv_head", "bn2"]


def convert_weights(layer: keras.Layer, name: str, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Convert a layer's weights to Keras's order and layout."""
    if isinstance(layer, layers.BatchNormalization):
        return [weights[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = weights[f"{name}.weight"]  # (out, in, height, width)
    return [kernel.transpose(2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else kernel.transpose(2, 3, 1, 0)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
