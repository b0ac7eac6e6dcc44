"""Export to ONNX: the network, with preprocessing and softmax around it where asked, in float32 or 8 bits."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.exporters import onnx_model, onnx_quantization, onnx_resizing
from models.exporters.loaded import compute, prepare, render_first_batch
from models.exporters.parity import compare, concatenate, render, require_parity
from models.images.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from models.exporters.loaded import ExportRequest, Loaded

ABOUT: tuple[str, ...] = ("architecture", "pretrained_cfg", "job")
"""Facts of a checkpoint that an ONNX model's metadata hold."""
CHOSEN_ON = 128
"""Validation images by which a model of 8 bits is chosen."""


def export(
    request: ExportRequest, loaded: Loaded, expected: np.ndarray, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    """Write a model as ONNX; returns the report of it. Raises ExportError.

    Its logits in float32 are compared first; the softmax is added, and 8 bits are made, after that.
    """
    writer = _Writer(request, loaded, heartbeat)
    model = writer.write_network(softmax=False)
    writer.finish(model)
    parity = compare(writer.compute_outputs(), expected, is_multi_label=loaded.pack.is_multi_label)
    require_parity(parity, "onnx", lambda: writer.find_layer(model))
    report: dict[str, Any] = {"opset": onnx_model.OPSET, "parity": parity}
    softmax = request.options.get("softmax", False)
    if softmax:
        model = writer.write_network(softmax=True)
    if request.options.get("precision") != "int8":
        writer.finish(model)
        return report
    int8, chosen = writer.quantize(model)
    writer.finish(int8)
    return {**report, **chosen, **_compare_accuracy(loaded, writer.compute_outputs(), expected, softmax=softmax)}


class _Writer:
    """Writes a checkpoint's network as ONNX with the options of a request, and runs the file that it has written."""

    def __init__(self, request: ExportRequest, loaded: Loaded, heartbeat: Callable[[], None]) -> None:
        self._file, self._loaded, self._heartbeat = request.file, loaded, heartbeat
        self._resizes = request.options.get("resize", False)
        self._takes_pixels = request.options.get("preprocessing", False)
        self._gives_probabilities = request.options.get("softmax", False)

    def write_network(self, *, softmax: bool) -> Path:
        """Write the network as it takes images of its own size."""
        file = self._file.with_name("probabilities.onnx" if softmax else "logits.onnx")
        about = {name: value for name, value in self._loaded.metadata.items() if name in ABOUT}
        onnx_model.write(self._wrap(softmax=softmax), self._make_example(), file, self._loaded.classes, about)
        return file

    def quantize(self, model: Path) -> tuple[Path, dict[str, Any]]:
        """Write a model in 8 bits by the job's training and validation images; returns what was chosen, too."""
        file = self._file.with_name("int8.onnx")
        pack, preprocessing = self._loaded.pack, self._loaded.preprocessing
        trained = _pick(self._loaded.train.images, onnx_quantization.IMAGES)
        others = _pick(self._loaded.validation.images, CHOSEN_ON)
        pixels = list(render(pack, others if len(others) else trained, preprocessing))
        found = onnx_quantization.quantize(
            model,
            file,
            (self._give(image[None]) for batch in render(pack, trained, preprocessing) for image in batch),
            lambda: (self._give(batch) for batch in pixels),
            partial(
                onnx_quantization.compute_expected_loss,
                is_multi_label=pack.is_multi_label,
                are_probabilities=self._gives_probabilities,
            ),
            self._heartbeat,
        )
        return file, {
            "calibration": found.calibration,
            "calibrated_on": len(trained),
            "chosen_on": sum(map(len, pixels)),
            "expected_loss": found.expected_loss,
            "layers": found.layers,
            "float_layers": found.float_layers,
        }

    def finish(self, model: Path) -> None:
        """Write a model as the file of the request, with resizing before it where that is asked."""
        if self._resizes:
            onnx_resizing.prepend(model, self._file, self._loaded.preprocessing, onnx_model.OPSET)
        else:
            shutil.copyfile(model, self._file)

    def compute_outputs(self) -> np.ndarray:
        """Compute what the file gives for the job's test images, (n, C)."""
        session = onnx_model.Session(self._file)
        if not self._resizes:
            return compute(self._loaded, lambda pixels: session.run(self._give(pixels)), self._heartbeat)
        parts, pack = [], self._loaded.pack
        for image in self._loaded.test.images.tolist():
            parts.append(session.run(np.asarray(decode(pack.read_file(image), pack.decoding))[None]))
            self._heartbeat()
        return concatenate(parts, len(self._loaded.classes))

    def find_layer(self, model: Path) -> str:
        """Find the first layer whose output a model computes differently, for some test images."""
        images = self._give(render_first_batch(self._loaded))
        return onnx_model.find_layer(self._wrap(softmax=False), model, images)

    def _wrap(self, *, softmax: bool) -> nn.Module:
        if not self._takes_pixels and not softmax:
            return self._loaded.network
        preprocessing = self._loaded.preprocessing if self._takes_pixels else None
        is_multi_label = self._loaded.pack.is_multi_label
        network = self._loaded.network
        return onnx_model.Deployed(network, preprocessing, softmax=softmax, is_multi_label=is_multi_label).eval()

    def _make_example(self) -> torch.Tensor:
        channels, height, width = self._loaded.preprocessing.input_size
        if self._takes_pixels:
            return torch.zeros(2, height, width, channels, dtype=torch.uint8)
        return torch.zeros(2, channels, height, width)

    def _give(self, pixels: np.ndarray) -> np.ndarray:
        """Give pixels, (B, 3, H, W), as the model takes them."""
        if self._takes_pixels:
            return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        return prepare(self._loaded, pixels)


def _pick(images: np.ndarray, count: int) -> np.ndarray:
    """Pick some images, evenly."""
    picked: np.ndarray = images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]
    return picked


def _compare_accuracy(loaded: Loaded, outputs: np.ndarray, expected: np.ndarray, *, softmax: bool) -> dict[str, Any]:
    """Compare the accuracy of 8 bits with the original's, on the test images."""
    if not len(expected):
        return {"accuracy": None, "original_accuracy": None}
    if loaded.pack.is_multi_label:
        threshold = 0.5 if softmax else 0.0
        right = [
            ((o > limit) == (loaded.test.labels > 0)).all(1) for o, limit in ((outputs, threshold), (expected, 0.0))
        ]
        same = (outputs > threshold) == (expected > 0)
        equal = float(same.all(1).mean())
    else:
        right = [o.argmax(1) == loaded.test.labels for o in (outputs, expected)]
        equal = float((outputs.argmax(1) == expected.argmax(1)).mean())
    return {
        "accuracy": float(right[0].mean()),
        "original_accuracy": float(right[1].mean()),
        "equal_labels": equal,
    }
