"""Compare an imported network with the runtime of its original file, by a bound that its own rounding gives.

Both run the same images at batch 1 and 3. The imported network also runs in float64, which leaves out nearly all
rounding. The original may differ from that by at most SAFETY times as much as the network's own float32 does:

    |original - float64| <= SAFETY · max |float32 - float64|

Right networks differ by 0.4 to 2.3 times their own rounding (measured: docs/import-formats.md), which leaves room
for libraries and processors that sum in other ways; wrong ones by hundreds of times. The
outputs must also differ from image to image by SPREAD times the bound: a network that says the same of all images
passes every comparison, and proves nothing.

Originals of 8 or 16 bits round more than float32: `models.importers.quantized_check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np

from models.importers.errors import ImportRejected
from models.importers.outputs import Outputs, choose_measure
from models.importers.precision import run, run_in_float32, run_in_float64, run_rounded
from models.importers.quantized_check import LEAST_CORRELATION, compare_quantized
from models.importers.report import Comparison, NumericCheck
from models.networks.graph_network import GraphNetwork
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.conversion.converted import OriginalRuntime
    from models.importers.outputs import Measure
    from models.importers.reader import ReadNetwork
    from models.importers.report import ImageKind, QuantizedComparison

SAFETY = 8.0
SPREAD = 100.0
EPSILON = float(np.finfo(np.float32).eps)
BATCHES = (1, 3)
LEAST_BOUND = 1e-300
FEW_VALUES = 8
"""Fewest different outputs that tell of float16: 0 and 1 are the same in all types."""


def check_numbers(
    read: ReadNetwork, images: Mapping[ImageKind, np.ndarray], heartbeat: Callable[[], None]
) -> NumericCheck:
    """Compare a network with its original on images (B, 3, H, W), float32, as both take them.

    Raises ImportRejected with code conversion_differs, or not_finite.
    """
    original, network = read.original, as_module(read.network)
    if original is None:
        return NumericCheck(
            verdict="unverified", message="Nothing here runs the original, so the network is compared with nothing."
        )
    assert isinstance(network, GraphNetwork), "only graphs come with a runtime of their original"
    outputs = {kind: _run_batches(original, values, heartbeat) for kind, values in images.items()}
    bits = _find_bits(read, outputs)
    found = [_compute(network, original, kind, images[kind], outputs[kind], bits, heartbeat) for kind in images]
    has_classes = read.network.num_classes > 0
    together = (np.concatenate([one.original[1] for one in found]), np.concatenate([one.exact for one in found]))
    measure = choose_measure(*together, read.has_softmax, has_classes)
    if bits is not None:
        return _judge_quantized(
            [compare_quantized(one, batch, measure, bits, has_classes) for one in found for batch in BATCHES], original
        )
    return _judge([_compare(one, batch, measure, has_classes) for one in found for batch in BATCHES], original)


def _find_bits(read: ReadNetwork, outputs: Mapping[ImageKind, Mapping[int, np.ndarray]]) -> Literal[8, 16] | None:
    """Find the bits of the original's activations, where they are fewer than float32's: by what it gives."""
    if read.is_quantized:
        return 8
    given = np.concatenate([one[1].ravel() for one in outputs.values()])
    with np.errstate(over="ignore"):
        is_half = np.array_equal(given, given.astype(np.float16).astype(np.float64), equal_nan=True)
    return 16 if is_half and len(np.unique(given)) > FEW_VALUES else None


def _compute(
    network: GraphNetwork,
    original: OriginalRuntime,
    kind: ImageKind,
    images: np.ndarray,
    by_batch: Mapping[int, np.ndarray],
    bits: Literal[8, 16] | None,
    heartbeat: Callable[[], None],
) -> Outputs:
    if bits is None:
        exact, rounded = run_in_float64(network, images, heartbeat), run_in_float32(network, images, heartbeat)
    else:
        exact, rounded = run(network, images, 3, heartbeat), [run_rounded(network, images, bits, heartbeat)]
    shapes = {outputs.shape for outputs in (exact, *by_batch.values())}
    if len(shapes) > 1:
        _reject(
            f"its outputs are of shape {list(by_batch[1].shape)}, the network's of {list(exact.shape)}",
            NumericCheck(verdict="unproven", message="The outputs' shapes differ.", original=original.name),
        )
    for whose, outputs in (("The network that was read from the file", exact), (original.name, by_batch[1])):
        if not np.isfinite(outputs).all():
            raise ImportRejected(
                "not_finite",
                f"{whose} gives numbers that are not finite (NaN or infinite) on ordinary images: its weights are "
                "damaged, or overflow. Export the network again.",
            )
    return Outputs(kind, by_batch, exact, rounded)


def _run_batches(original: OriginalRuntime, images: np.ndarray, heartbeat: Callable[[], None]) -> dict[int, np.ndarray]:
    return {batch: _run_original(original, images, batch, heartbeat) for batch in BATCHES}


def _run_original(
    original: OriginalRuntime, images: np.ndarray, batch: int, heartbeat: Callable[[], None]
) -> np.ndarray:
    outputs = []
    for start in range(0, len(images), batch):
        heartbeat()
        part = np.ascontiguousarray(images[start : start + batch])
        outputs.append(np.asarray(original.run(part), np.float64).reshape(len(part), -1))
    return np.concatenate(outputs)


def _compare(outputs: Outputs, batch: int, measure: Measure, has_classes: bool) -> Comparison:
    original, exact = measure.read(outputs.original[batch]), measure.compute(outputs.exact)
    rounding = max(float(np.abs(measure.compute(one.astype(np.float32)) - exact).max()) for one in outputs.rounded)
    # Whatever a network computes, storing its output rounds it too.
    rounding = max(rounding, EPSILON * float(np.abs(exact).max()))
    return Comparison(
        measure=measure.kind,
        images=outputs.kind,
        batch=batch,
        count=len(exact),
        greatest_difference=float(np.abs(original - exact).max()),
        own_rounding=rounding,
        bound=SAFETY * rounding,
        spread=measure_spread(exact),
        top1_agreement=_agree(outputs.original[batch], outputs.exact) if has_classes else None,
    )


def measure_spread(values: np.ndarray) -> float:
    """Measure how far outputs (B, C) differ from image to image: the median of the greatest distance to their mean."""
    return float(np.median(np.abs(values - values.mean(0)).max(1)))


def _agree(original: np.ndarray, exact: np.ndarray) -> float:
    return float((original.argmax(1) == exact.argmax(1)).mean())


def _judge(comparisons: Sequence[Comparison], original: OriginalRuntime) -> NumericCheck:
    check = NumericCheck(verdict="unproven", message="", original=original.name, comparisons=list(comparisons))
    worst = max(comparisons, key=lambda one: one.greatest_difference / max(one.bound, LEAST_BOUND))
    figures = f"{worst.greatest_difference:.2g} at most, where rounding explains {worst.bound:.2g}"
    if worst.greatest_difference > worst.bound:
        check.message = f"The network differs from {original.name}: {figures}."
        _reject(
            f"on {worst.images} images at batch {worst.batch}, {worst.measure.replace('_', ' ')} differ by {figures}",
            check,
        )
    rendered = [one for one in comparisons if one.images == "rendered"]
    if not any(one.spread >= SPREAD * one.bound for one in rendered):
        best = max(rendered, key=lambda one: one.spread / max(one.bound, LEAST_BOUND))
        check.message = (
            f"The network agrees with {original.name} on images ({best.greatest_difference:.2g} at most, where "
            f"rounding explains {best.bound:.2g}), but its outputs differ by only {best.spread:.2g} from image to "
            f"image, and not by {SPREAD:.0f} times what rounding explains: too little for the agreement to prove "
            "anything. A trained network tells images apart."
        )
        return check
    return _conclude(check, original, f"The network agrees with {original.name}: {figures}.")


def _judge_quantized(comparisons: Sequence[QuantizedComparison], original: OriginalRuntime) -> NumericCheck:
    check = NumericCheck(verdict="unproven", message="", original=original.name, quantized=list(comparisons))
    # Noise is reported alone: few images of it, and none that the original's ranges were measured for.
    rendered = [one for one in comparisons if one.images == "rendered"]
    worst = max(rendered, key=lambda one: one.difference / max(one.bound, LEAST_BOUND))
    figures = f"{worst.difference:.2g} in the mean, where rounding to {worst.bits} bits explains {worst.bound:.2g}"
    if worst.difference > worst.bound:
        check.message = f"The network differs from {original.name}: {figures}."
        _reject(f"on {worst.images} images at batch {worst.batch}, outputs differ by {figures}", check)
    correlation = min(one.correlation for one in rendered)
    if correlation < LEAST_CORRELATION:
        check.message = (
            f"The network agrees with {original.name} ({figures}), but outputs are so alike on all images, or so "
            f"rough, that they correlate by only {correlation:.2f}: too little for the agreement to prove anything."
        )
        return check
    return _conclude(
        check, original, f"The network agrees with {original.name}: {figures}; outputs correlate by {correlation:.3f}."
    )


def _conclude(check: NumericCheck, original: OriginalRuntime, message: str) -> NumericCheck:
    """Conclude that a network agrees with its original."""
    check.verdict, check.message = "verified", message
    if not original.is_independent:
        check.verdict = "second_opinion"
        check.message += " The same library read the file for both: errors of its reading would not show."
    return check


def _reject(detail: str, check: NumericCheck) -> NoReturn:
    """Reject a network that is not its original."""
    raise ImportRejected(
        "conversion_differs",
        f"The network as it was read does not compute what {check.original} computes with the file: {detail}. It would "
        "be wrong without a word, so it is not taken. Export it in another format (ONNX, or PyTorch weights with the "
        "architecture), and please report the file.",
        check,
    )
