"""The original ONNX model in onnxruntime, without optimization of its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from models.conversion.errors import ExtraMissing, FileBroken

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.onnx.image_input import ImageInput


class _Places(NamedTuple):
    """Places of the weight and of its zero point among an operator's inputs."""

    weight: int
    zero: int


VALUES_ZERO = 2
"""Place of the zero point of the values among the inputs of an operator of INTEGER_WEIGHTS."""
INTEGER_WEIGHTS = {
    "ConvInteger": _Places(1, 3),
    "MatMulInteger": _Places(1, 3),
    "QLinearConv": _Places(3, 5),
    "QLinearMatMul": _Places(3, 5),
}
"""Operators that multiply integers."""


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
        model = onnx.ModelProto.FromString(path.read_bytes())
        make_weights_unsigned(model)
        try:  # from bytes: a path would let it read files beside it
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
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


def make_weights_unsigned(model: onnx.ModelProto) -> None:
    """Change int8 weights that are multiplied by uint8 to uint8, with a zero point greater by 128: the same numbers.

    On x86 processors without VNNI, onnxruntime adds products of uint8 and int8 in 16 bits, where they saturate.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    unsigned = {name for name, tensor in constants.items() if tensor.data_type == onnx.TensorProto.UINT8}
    unsigned |= {node.output[2] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    for node in graph.node:
        if node.op_type not in INTEGER_WEIGHTS:
            continue
        places = INTEGER_WEIGHTS[node.op_type]
        node.input.extend([""] * (places.zero + 1 - len(node.input)))
        weight, zero = constants.get(node.input[places.weight]), constants.get(node.input[places.zero])
        if node.input[VALUES_ZERO] not in unsigned or weight is None or weight.data_type != onnx.TensorProto.INT8:
            continue
        if zero is None and node.input[places.zero]:
            continue
        zeros = np.zeros((), np.int8) if zero is None else numpy_helper.to_array(zero)
        for place, values in ((places.weight, numpy_helper.to_array(weight)), (places.zero, zeros)):
            name = f"{node.name or node.output[0]}/unsigned/{place}"
            graph.initializer.append(numpy_helper.from_array(np.asarray(values.astype(np.int16) + 128, np.uint8), name))
            node.input[place] = name
