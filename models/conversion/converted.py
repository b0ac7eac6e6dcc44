"""A converted network, the facts that its file states, and the runtime of the original."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

    from models.networks.graph_network import GraphNetwork


@dataclass(frozen=True)
class PreprocessingFacts:
    """Preprocessing that a file states; None where it is silent."""

    input_size: tuple[int, int, int] | None = None
    """(3, H, W) of the images."""
    mean: tuple[float, float, float] | None = None
    """Mean of each channel, of images from 0 to 1, in the order of `channel_order`."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of each channel; a network that takes images from 0 to 255 has mean 0 and std 1/255."""
    interpolation: str | None = None
    crop_pct: float | None = None
    channel_order: Literal["rgb", "bgr"] | None = None
    crop_mode: str | None = None
    """How images of another aspect ratio are cut, in timm's words: center, squash or border."""
    evidence: tuple[str, ...] = ()
    """Sentences that say where in the file each fact was found."""


class OriginalRuntime(Protocol):
    """Runs the original file."""

    name: str
    """The library and its version, as in "onnxruntime 1.32.0"."""
    is_independent: bool
    """False if the library that runs the file is also the one that read it: a second opinion only."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the original's output (B, C) of images (B, 3, H, W), float32, as the converted network takes them."""
        ...


@dataclass(frozen=True)
class ConvertedNetwork:
    """A file's network as a graph of torch's modules and functions."""

    network: GraphNetwork
    """(B, 3, H, W) float32 → logits (B, C), or features (B, D) if the network has no classifier."""
    input_size: tuple[int, int, int]
    """(3, H, W)."""
    original: OriginalRuntime | None = None
    """Runs the original file; None where the format has no runtime."""
    has_softmax: bool = False
    """The original ends in a softmax, log-softmax or sigmoid, which the network leaves out."""
    is_quantized: bool = False
    """Weights and ranges were dequantized: values differ from the original's, and classes should not."""
    preprocessing: PreprocessingFacts = field(default_factory=PreprocessingFacts)
    labels: list[str] | None = None
    licence: str | None = None
    notes: list[str] = field(default_factory=list)
    """Sentences for the report: what was read, changed and left out."""
