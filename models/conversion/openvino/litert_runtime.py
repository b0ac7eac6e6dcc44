"""Run a TFLite file with LiteRT, the runtime that the format is made for."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from models.conversion.errors import ExtraMissing
from models.conversion.openvino.runtime import average_maps

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.openvino.model_file import ModelInput


class LitertRuntime:
    """LiteRT's interpreter, one image at a time."""

    is_independent = True

    def __init__(self, path: Path, taken: ModelInput, output: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ExtraMissing.of("ai-edge-litert") from error
        self.name = f"LiteRT {metadata.version('ai-edge-litert')}"
        self._taken = taken
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        (self._input,) = self._interpreter.get_input_details()
        channels, *sides = taken.input_size
        size = [1, *sides, channels] if taken.is_channels_last else [1, channels, *sides]
        if list(self._input["shape"]) != size:
            self._interpreter.resize_tensor_input(self._input["index"], size)
        self._interpreter.allocate_tensors()
        outputs = self._interpreter.get_output_details()
        self._output = next((one for one in outputs if one["name"] == output), outputs[0])

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the output (B, C) of images (B, 3, H, W); quantized numbers become those that they stand for."""
        ordered = images.transpose(0, 2, 3, 1) if self._taken.is_channels_last else images
        outputs = np.concatenate([self._run_one(image) for image in ordered])
        return average_maps(outputs, is_channels_last=self._taken.is_channels_last)

    def _run_one(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input["index"], _quantize(image, self._input)[None])
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output["index"])
        scale, zero = self._output["quantization"]
        result: np.ndarray = output.astype(np.float32)
        return (result - zero) * np.float32(scale) if scale and output.dtype != np.float32 else result


def _quantize(image: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Round an image to the integers that a quantized input takes."""
    kind = details["dtype"]
    if not np.issubdtype(kind, np.integer):
        typed: np.ndarray = image.astype(kind)
        return typed
    scale, zero = details["quantization"]
    limits = np.iinfo(kind)
    rounded: np.ndarray = np.clip(np.round(image / scale + zero if scale else image), limits.min, limits.max)
    return rounded.astype(kind)
