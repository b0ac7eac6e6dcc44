"""Static quantization of an ONNX model to 8 bits: ranges of activations from real images, sensitive layers in float32.

Weights have a scale of their own for each output channel. Activations have one for a whole tensor, which is what costs
accuracy where its channels differ much, as in networks of depthwise convolutions (Nagel et al., arXiv 1906.04721). So
their ranges are chosen in several ways: the least and greatest value, a percentile, or the range with the least mean
square error (Choukroun et al., arXiv 1902.06822). On other images, those are taken whose logits are the nearest. Where
the expected loss of accuracy is still too high, the segments of the network that cost most stay in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.evaluation.metrics import compute_probabilities
from models.exporters.onnx_model import Session, name_module

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    Ranges = dict[str, tuple[float, float]]
    """Least and greatest value of each tensor that 8 bits hold."""

IMAGES = 128
"""Images by which ranges are chosen."""
ALLOWED_LOSS = 0.01
"""Expected loss of accuracy up to which no layer stays in float32."""
SEGMENTS = 16
"""Parts of the network, one after another, that stay in float32 or do not."""
COMPUTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that compute with 8 bits; a layer in float32 is one of these."""
PASSED = (
    *("AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu", "Reshape", "Slice"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that pass 8 bits on. Sums, normalizations, softmax and curved activations compute in float32: they take a
small share of the time, and 8 bits for what they give take much of a transformer's accuracy."""
SAMPLED_VALUES = 1 << 24
"""Values of activations that are kept, of all tensors and images together: 64 MB."""
FITTED_VALUES = 1 << 14
"""Values of a tensor by which the range with the least error is found."""
PERCENTILE = 99.9
LEVELS = 255


class Quantized(NamedTuple):
    """Choices of a quantization to 8 bits."""

    calibration: str
    """How ranges of activations were chosen: min-max, percentile or mean square error."""
    float_layers: list[str]
    """Layers of which something stays in float32."""
    layers: int
    expected_loss: float
    """Expected loss of accuracy on the images by which it was chosen."""


def quantize(
    source: Path,
    target: Path,
    calibration: Iterable[np.ndarray],
    choice: Callable[[], Iterable[np.ndarray]],
    compute_loss: Callable[[np.ndarray, np.ndarray], float],
    heartbeat: Callable[[], None],
) -> Quantized:
    """Write a model in 8 bits, and return what was chosen for it.

    `calibration` gives one image at a time, (1, …), and `choice` gives the batches of other images each time that it is
    called. `compute_loss` is given outputs for these, of the new model and of that in float32, and computes the
    expected loss. Where a layer must stay in float32, the new model is run once more for each of SEGMENTS, and for each
    that is added to the first of them.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = source.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    writer = _Writer(prepared, target, choice, compute_loss, heartbeat)
    found = {name: writer.measure(ranges) for name, ranges in _calibrate(prepared, calibration, heartbeat).items()}
    way = min(found, key=lambda name: found[name].distance)
    best = found[way]
    if best.loss > ALLOWED_LOSS:
        best, *others = sorted(writer.measure_segments(best.ranges), key=lambda each: each.distance)
        for other in others:
            if best.loss <= ALLOWED_LOSS:
                break
            best = writer.measure(best.ranges, [*best.floating, *other.floating])
    writer.write(best.ranges, best.floating)
    layers, floating = (
        list(dict.fromkeys(name_module(name) for name in writer.layers if name in chosen))
        for chosen in (writer.layers, best.floating)
    )
    return Quantized(way, floating, len(layers), best.loss)


def compute_expected_loss(
    outputs: np.ndarray, expected: np.ndarray, *, is_multi_label: bool, are_probabilities: bool
) -> float:
    """Compute the expected loss of accuracy: how much less probable other answers are by the expected outputs, (n, C).

    mean over images of p(y) - p(y'), where p are the expected probabilities and y, y' the answers of both outputs; of
    several labels, mean over images and labels of |2p - 1| where one has the label and the other does not.
    """
    probabilities = expected
    if not are_probabilities:
        probabilities = compute_probabilities(expected, is_multi_label=is_multi_label)
    if is_multi_label:
        limit = 0.5 if are_probabilities else 0.0
        return float((np.abs(2 * probabilities - 1) * ((outputs > limit) != (expected > limit))).mean())
    answered = np.take_along_axis(probabilities, outputs.argmax(1)[:, None], 1)
    return float((probabilities.max(1) - answered[:, 0]).mean())


class _Candidate(NamedTuple):
    """A way to quantize, and what came out."""

    ranges: Ranges
    floating: Collection[str]
    """Nodes in float32."""
    distance: float
    """Mean square difference of outputs from those of the model in float32."""
    loss: float
    """Expected loss of accuracy."""


class _Writer:
    """Writes a prepared model in 8 bits, and computes what that gives for some images."""

    def __init__(
        self,
        prepared: Path,
        target: Path,
        choice: Callable[[], Iterable[np.ndarray]],
        compute_loss: Callable[[np.ndarray, np.ndarray], float],
        heartbeat: Callable[[], None],
    ) -> None:
        import onnx

        self._prepared, self._target, self._choice, self._heartbeat = prepared, target, choice, heartbeat
        self._compute_loss = compute_loss
        nodes = onnx.load(str(prepared)).graph.node
        self.layers = [node.name for node in nodes if node.op_type in COMPUTED]
        names = [node.name for node in nodes]
        first, last = (names.index(self.layers[place]) for place in (0, -1)) if self.layers else (0, -1)
        self._nodes = names[first : last + 1]
        self._around = names[:first] + names[last + 1 :]
        """Preprocessing and softmax, which stay in float32."""
        self._expected = self._run(prepared)

    def write(self, ranges: Ranges, floating: Collection[str]) -> None:
        """Write the model; nodes of these names stay in float32."""
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        given = {name: tuple(np.float32(value) for value in values) for name, values in ranges.items()}
        quantizer = QDQQuantizer(
            onnx.load(str(self._prepared)),
            per_channel=True,
            reduce_range=True,  # 7 bits: with 8, sums saturate at 16 bits on x86 processors without VNNI
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, given),
            nodes_to_quantize=[],
            nodes_to_exclude=[*self._around, *floating],
            op_types_to_quantize=[*COMPUTED, *PASSED],
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(self._target), False)

    def measure(self, ranges: Ranges, floating: Collection[str] = ()) -> _Candidate:
        """Write the model, and measure how far its outputs are from those of the model in float32."""
        self.write(ranges, floating)
        outputs = self._run(self._target)
        distance = float(np.square(outputs - self._expected).mean())
        return _Candidate(ranges, floating, distance, self._compute_loss(outputs, self._expected))

    def measure_segments(self, ranges: Ranges) -> list[_Candidate]:
        """Divide the nodes into segments, and measure the model with each of them in float32."""
        bounds = np.linspace(0, len(self.layers), min(SEGMENTS, len(self.layers)) + 1).astype(int)[1:-1]
        opening = {self.layers[bound] for bound in bounds}
        segments: list[list[str]] = [[]]
        for name in self._nodes:
            if name in opening:
                segments.append([])
            segments[-1].append(name)
        return [self.measure(ranges, segment) for segment in segments]

    def _run(self, file: Path) -> np.ndarray:
        session = Session(file)
        parts = []
        for images in self._choice():
            parts.append(session.run(images))
            self._heartbeat()
        return np.concatenate(parts)


def _calibrate(prepared: Path, images: Iterable[np.ndarray], heartbeat: Callable[[], None]) -> dict[str, Ranges]:
    """Choose the ranges of all activations in several ways, by one pass over images."""
    import onnx

    model = onnx.load(str(prepared))
    names = _add_samples(model)
    file = prepared.with_name("sampled.onnx")
    onnx.save(model, str(file))
    session = Session(file)
    least, greatest = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    samples: list[list[np.ndarray]] = [[] for _ in names]
    for image in images:
        found = session.run_all(image, [f"{name}/{kind}" for kind in ("least", "greatest", "sample") for name in names])
        least = np.minimum(least, found[: len(names)])
        greatest = np.maximum(greatest, found[len(names) : 2 * len(names)])
        for kept, values in zip(samples, found[2 * len(names) :], strict=True):
            kept.append(values)
        heartbeat()
    ranges: dict[str, Ranges] = {"min-max": {}, "percentile": {}, "mean square error": {}}
    for name, low, high, kept in zip(names, least.tolist(), greatest.tolist(), samples, strict=True):
        values = np.concatenate(kept)
        inner = np.percentile(values, [100 - PERCENTILE, PERCENTILE]).tolist()
        ranges["min-max"][name] = low, high
        ranges["percentile"][name] = inner[0], inner[1]
        ranges["mean square error"][name] = fit_range(values[:: max(1, len(values) // FITTED_VALUES)], low, high)
        heartbeat()
    return ranges


def _add_samples(model: Any) -> list[str]:
    """Have a model give the least, the greatest and some values of each tensor of numbers; returns the tensors' names.

    The values are at random places, always the same; the graph picks them, so that no whole tensor is kept.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    names = [name for name, value in values.items() if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    shares = np.random.default_rng(0).random(max(16, SAMPLED_VALUES // (IMAGES * max(1, len(names)))))
    graph.initializer.append(numpy_helper.from_array(np.sort(shares), "samples/shares"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "samples/all"))

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    for name in names:
        flat = add("Reshape", [name, "samples/all"], f"{name}/flat")
        size = add("Cast", [add("Size", [flat], f"{name}/size")], f"{name}/length", to=TensorProto.DOUBLE)
        place = add("Mul", ["samples/shares", size], f"{name}/place")
        add("Gather", [flat, add("Cast", [place], f"{name}/places", to=TensorProto.INT64)], f"{name}/sample")
        add("ReduceMin", [name], f"{name}/least", keepdims=0)
        add("ReduceMax", [name], f"{name}/greatest", keepdims=0)
        for kind in ("least", "greatest", "sample"):
            graph.output.append(helper.make_empty_tensor_value_info(f"{name}/{kind}"))
    return names


def fit_range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Find the part of a range by whose 8 bits values differ least from themselves: least mean square error.

    Both ends are drawn towards 0, each alone and then together.
    """

    def compute_error(low: float, high: float) -> float:
        scale = max(high - low, 1e-12) / LEVELS
        zero = np.round(-low / scale)
        kept = (np.clip(np.round(values / scale) + zero, 0, LEVELS) - zero) * scale
        return float(np.square(kept - values).mean())

    low, high = min(low, 0.0), max(high, 0.0)
    shares = np.linspace(0.1, 1.0, 19).tolist()
    high *= min(shares, key=lambda share: compute_error(low, high * share))
    low *= min(shares, key=lambda share: compute_error(low * share, high))
    share = min(shares, key=lambda share: compute_error(low * share, high * share))
    return low * share, high * share
