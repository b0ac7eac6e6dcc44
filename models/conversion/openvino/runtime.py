"""Run a model as OpenVINO has read it: a second opinion on the graph of torch, though not on the reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.conversion.openvino.model_file import name_port

if TYPE_CHECKING:
    from models.conversion.openvino.model_file import ModelInput

INTEGER_TYPES = {"u8": np.uint8, "i8": np.int8, "i32": np.int32, "i64": np.int64, "u16": np.uint16, "i16": np.int16}


def average_maps(output: np.ndarray, *, is_channels_last: bool) -> np.ndarray:
    """Average the maps of a network without head, (B, H, W, C) or (B, C, H, W); others become (B, C)."""
    if output.ndim == 4:
        average: np.ndarray = output.mean((1, 2) if is_channels_last else (2, 3))
        return average
    return output.reshape(len(output), -1)


class OpenvinoRuntime:
    """OpenVINO's processor plugin, in float32."""

    is_independent = False

    def __init__(self, model: Any, taken: ModelInput, output: str) -> None:
        import openvino

        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"
        self._model = model
        self._taken = taken
        self._output = output
        self._compiled: Any = None

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the output (B, C) of images (B, 3, H, W)."""
        if self._compiled is None:
            import openvino

            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
            self._compiled = openvino.Core().compile_model(self._model, "CPU", settings)
        kind = INTEGER_TYPES.get(self._model.input(0).get_element_type().get_type_name(), np.float32)
        ordered = images.transpose(0, 2, 3, 1) if self._taken.is_channels_last else images
        typed = ordered.astype(np.float32) if kind is np.float32 else np.round(ordered).astype(kind)
        size = self._taken.batch or len(typed)
        padded = np.concatenate([typed, np.repeat(typed[-1:], -len(typed) % size, 0)])
        batches = [padded[start : start + size] for start in range(0, len(padded), size)]
        output: np.ndarray = np.concatenate([self._run_batch(batch) for batch in batches])[: len(images)]
        return average_maps(output, is_channels_last=self._taken.is_channels_last)

    def _run_batch(self, batch: np.ndarray) -> np.ndarray:
        results = self._compiled(np.ascontiguousarray(batch))
        output: np.ndarray = next(results[port] for port in self._compiled.outputs if name_port(port) == self._output)
        return output
