"""Run a Keras file in Keras itself, on its torch backend, with its safe mode on."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from models.conversion.padding import compute_same_padding
from models.conversion.suffixes import link_with_suffix

if TYPE_CHECKING:
    import numpy as np

BACKEND = "torch"


class KerasRuntime:
    """Keras on torch; average pooling with SAME padding as in TensorFlow, where Keras's torch backend differs."""

    is_independent = True

    def __init__(self, network: Any) -> None:
        self.name = f"Keras {metadata.version('keras')} on torch"
        self._network = network
        for layer in network._flatten_layers(include_self=False):
            if type(layer).__name__ == "AveragePooling2D" and layer.padding == "same":
                layer.call = _average_same(layer)

    @classmethod
    def of(cls, file: Path) -> KerasRuntime | None:
        """Load a file; None if Keras cannot: it does not read all that Keras 2 has written, nor is it always there."""
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = BACKEND
        try:
            import h5py
            import keras

            if keras.backend.backend() != BACKEND:
                return None
            with tempfile.TemporaryDirectory() as folder:
                known = (
                    _rewrite(file, Path(folder))
                    if h5py.is_hdf5(file)
                    else link_with_suffix(file, ".keras", Path(folder))
                )
                network = keras.saving.load_model(known, compile=False, safe_mode=True)
        except Exception:  # Keras's errors have no common base, and a file that it refuses may be a good one
            return None
        return cls(network)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the output (B, C) of images (B, 3, H, W)."""
        with torch.no_grad():
            ordered = torch.from_numpy(images).permute(0, 2, 3, 1).contiguous()
            output: np.ndarray = self._network(ordered, training=False).cpu().numpy()
        return output.mean((1, 2)) if output.ndim == 4 else output.reshape(len(images), -1)


def _rewrite(file: Path, folder: Path) -> Path:
    """Copy an `.h5` file, and leave out of its configuration what Keras 2 wrote and Keras 3 does not know."""
    import h5py

    copied = folder / "model.h5"
    shutil.copyfile(file, copied)
    with h5py.File(copied, "r+") as opened:
        config = _modernize(json.loads(opened.attrs["model_config"]))
        opened.attrs["model_config"] = json.dumps(config)
    return copied


def _modernize(node: Any) -> Any:
    """Leave out where classes of Keras 2 were from, and the option `groups` of depthwise convolutions."""
    if isinstance(node, list):
        return [_modernize(one) for one in node]
    if not isinstance(node, dict):
        return node
    is_old = str(node.get("module", "")).startswith(("tf_keras", "keras."))
    is_layer = {"class_name", "config"} <= node.keys()
    dropped = ("module", "registered_name", "build_config") if is_layer and is_old else ()
    kept = {name: _modernize(value) for name, value in node.items() if name not in dropped}
    if node.get("class_name") == "DepthwiseConv2D" and isinstance(kept.get("config"), dict):
        kept["config"].pop("groups", None)
    return kept


def _average_same(layer: Any) -> Any:
    """Make average pooling that counts no padding: Keras's torch backend counts it."""

    def call(images: torch.Tensor) -> torch.Tensor:
        x = images.permute(0, 3, 1, 2)
        before, after = compute_same_padding(x.shape[2:], layer.pool_size, layer.strides, [1, 1])
        sides = [before[1], after[1], before[0], after[0]]
        sums = functional.avg_pool2d(functional.pad(x, sides), layer.pool_size, layer.strides, divisor_override=1)
        ones = functional.pad(torch.ones_like(x[:1, :1]), sides)
        counts = functional.avg_pool2d(ones, layer.pool_size, layer.strides, divisor_override=1)
        return (sums / counts).permute(0, 2, 3, 1)

    return call
