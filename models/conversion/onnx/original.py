"""The original ONNX model in onnxruntime, without optimization of its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.conversion.errors import ExtraMissing, FileBroken

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.onnx.image_input import ImageInput


class OnnxRuntime:
    """Runs a model on images as the converted network takes them."""

    is_independent = True

    def __init__(self, path: Path, images: ImageInput, output: str, batch: int | None) -> None:
        """Load a model.

        Args:
            path: its file.
            images: its input.
            output: the name of the output with the logits.
            batch: the size of batch that it is written for; None for any.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ExtraMissing.of("onnxruntime") from error
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self._images, self._output, self._batch = images, output, batch
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:  # from its bytes: a path would let it read files beside it
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise FileBroken(f"onnxruntime cannot load the model: {error}. Export it again.") from error

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the original's output (B, C) of images (B, 3, H, W), float32; images of uint8 are rounded."""
        if self._images.is_channels_last:
            images = images.transpose(0, 2, 3, 1)
        if self._images.dtype == "uint8":
            images = images.round().clip(0, 255)
        images = np.ascontiguousarray(images.astype(self._images.dtype))
        size = self._batch or len(images)
        parts = [self._run_batch(images[start : start + size], size) for start in range(0, len(images), size)]
        return np.concatenate(parts).astype(np.float32)

    def _run_batch(self, images: np.ndarray, size: int) -> np.ndarray:
        """Run one batch, filled with copies of its last image where it is too small."""
        count = len(images)
        filled = np.concatenate([images, np.repeat(images[-1:], size - count, 0)])
        try:
            (output,) = self._session.run([self._output], {self._images.name: filled})
        except Exception as error:  # onnxruntime's errors have no common class
            raise FileBroken(f"onnxruntime cannot run the model: {error}. Export it again.") from error
        return np.asarray(output).reshape(size, -1)[:count]
