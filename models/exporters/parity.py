"""Parity of an exported file: its logits beside those of the checkpoint's network, on the job's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.exporters.errors import ParityBroken
from models.images.decode import decode
from models.images.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from models.datasets.pack import Pack
    from models.images.preprocessing import Preprocessing

    Run = Callable[[np.ndarray], np.ndarray]
    """Pixels uint8 (B, 3, H, W) → logits (B, C)."""

TOLERANCE = 1e-4
"""Greatest difference of an image's logits, as a share of the greatest of them."""
BATCH = 32


def render(pack: Pack, images: np.ndarray, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Render images as timm's evaluation transform does, in batches of uint8 (B, 3, H, W)."""
    views = Views(preprocessing, (), exact=True)
    digests = pack.digests
    for start in range(0, len(images), BATCH):
        yield np.stack(
            [
                views.render(decode(pack.read_file(image), pack.decoding), digests[image].tobytes(), 0)
                for image in images[start : start + BATCH].tolist()
            ]
        )


def compare(logits: np.ndarray, expected: np.ndarray, *, is_multi_label: bool) -> dict[str, Any]:
    """Compare logits (n, C) with the expected ones.

    greatest_relative_difference: max over images of max|z - z'| / max|z'|. equal_labels: share of images whose
    predicted class, or set of classes z > 0 of several labels, is the same.
    """
    if not len(expected):
        return {"images": 0, "greatest_relative_difference": None, "equal_labels": None}
    scale = np.maximum(np.abs(expected).max(1), np.finfo(np.float32).tiny)
    relative = np.abs(logits - expected).max(1) / scale
    same = ((logits > 0) == (expected > 0)).all(1) if is_multi_label else logits.argmax(1) == expected.argmax(1)
    return {
        "images": len(expected),
        "greatest_relative_difference": float(relative.max()),
        "equal_labels": float(same.mean()),
    }


def require_parity(parity: dict[str, Any], format: str, find_layer: Callable[[], str]) -> None:
    """Check that a float32 file computes what the checkpoint does. Raises ParityBroken with the layer where not."""
    if not parity["images"]:
        return
    difference, equal = parity["greatest_relative_difference"], parity["equal_labels"]
    if difference <= TOLERANCE and equal == 1.0:
        return
    raise ParityBroken(
        f"The {format} file's logits differ by {difference:.1e} of the greatest logit (at most {TOLERANCE:.0e}), and "
        f"{equal:.1%} of the labels on {parity['images']} test images are equal. They part at {find_layer()}. Use "
        "another format, such as safetensors."
    )


def record_outputs(
    network: nn.Module, images: torch.Tensor, besides: tuple[type[nn.Module], ...] = ()
) -> dict[str, torch.Tensor]:
    """Record the output of each module without children that gives one tensor, in the order of computation."""
    outputs: dict[str, torch.Tensor] = {}

    def watch(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                outputs[path] = output.detach().clone()

        return note

    leaves = [
        (path, module)
        for path, module in network.named_modules()
        if path and not list(module.children()) and not isinstance(module, besides)
    ]
    handles = [module.register_forward_hook(watch(path)) for path, module in leaves]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def find_first_difference(expected: dict[str, torch.Tensor], found: dict[str, np.ndarray]) -> str:
    """Name the first module whose output differs by more than the tolerance; the output where none does."""
    for path, output in expected.items():
        other = found.get(path)
        if other is None or other.shape != tuple(output.shape):
            continue
        reference = output.numpy()
        if np.abs(reference - other).max() > TOLERANCE * max(float(np.abs(reference).max()), 1e-30):
            return path
    return "the output"


def concatenate(parts: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Concatenate logits of batches, of which there may be none."""
    return np.concatenate(parts) if parts else np.zeros((0, classes), np.float32)
