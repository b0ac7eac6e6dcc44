"""Which engine computes the trunk: the fastest whose features agree with those of eager PyTorch in float32."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from models.features.engines import openvino
from models.features.engines.eager import Eager
from models.features.engines.openvino import OpenVINO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from models.features.trunk import Engine, Trunk

SPEED_UP = {"float32": 1.6, "bfloat16": 3.0}
"""By how much another engine than the plain one is faster, about: 1.6 to 2 and 2 to 6 times were measured."""
WORTH_SECONDS = 1.0
"""What it has to save, its set-up paid: else the plain one is taken, the same every time."""
LEAST_COSINE = 0.95
"""Between the standardized features of an image by both engines, at worst."""
LEAST_AGREEMENT = 0.85
"""Share of the images whose most similar other one is the same by both engines."""


@dataclass(frozen=True)
class Kind:
    """An engine and the precision that it computes in; exact is float32, of images that Pillow has resized."""

    engine: Literal["eager", "openvino"]
    precision: Literal["exact", "float32", "bfloat16"]

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


PLAIN = Kind("eager", "float32")


@dataclass(frozen=True)
class Choice:
    """What was chosen."""

    kind: Kind
    why: str
    figures: dict[str, float]
    """What was measured."""


class Engines:
    """The engines that this machine has for one trunk."""

    def __init__(self, trunk: Trunk, input_size: tuple[int, int, int], folder: Path, about: str) -> None:
        """`folder` keeps what is compiled, and `about`, the trunk's digest, names it."""
        self._trunk, self._input_size, self._folder, self._about = trunk, input_size, folder, about
        self._built: dict[Kind, Engine] = {}

    def fitting(self, engine: str, precision: str) -> list[Kind]:
        """What there is of what a recipe asks for, the fastest first; may be nothing."""
        return [
            kind
            for kind in available(self._trunk.device)
            if engine in ("auto", kind.engine)
            and (precision == kind.precision or (precision == "auto" and kind.precision != "exact"))
        ]

    def built(self, kind: Kind) -> Engine:
        """The engine, the same each time: what was set up to be tried is not set up again."""
        if kind not in self._built:
            self._built[kind] = self._new(kind)
        return self._built[kind]

    def _new(self, kind: Kind) -> Engine:
        trunk = self._trunk
        if kind.engine == "eager":
            return Eager(trunk.network, trunk.pixels, torch.bfloat16 if kind.precision == "bfloat16" else torch.float32)
        assert kind.precision != "exact"
        return OpenVINO(trunk.network, trunk.pixels, self._input_size, kind.precision, self._folder, self._about)

    def chosen(
        self, kinds: Sequence[Kind], lacking: Callable[[Kind], int], sample: Callable[[int], np.ndarray]
    ) -> Choice:
        """One of these.

        Args:
            kinds: the fastest first, the plainest last.
            lacking: of how many images the features of a kind are not known yet.
            sample: so many images of the dataset, (n, 3, H, W) uint8.
        """
        if len(kinds) == 1:
            return Choice(kinds[0], "no other was asked for", {})
        lacks = {kind: lacking(kind) for kind in kinds}
        known = [kind for kind in kinds if lacks[kind] == 0]
        if known:
            return Choice(known[0], "its features are known", {})
        images = sample(self._trunk.batch)
        began = time.perf_counter()
        plain = self._trunk(images)
        seconds = (time.perf_counter() - began) / len(images)
        figures = {"plain_seconds": seconds}
        for kind in kinds[:-1]:
            engine = self.built(kind)
            saved = seconds * (lacks[kinds[-1]] - lacks[kind] / SPEED_UP[kind.precision])
            if saved < engine.set_up_seconds + WORTH_SECONDS:
                continue
            cosine, agreement = agree(plain, _said(engine, images))
            figures |= {f"{kind} cosine": cosine, f"{kind} agreement": agreement}
            if cosine >= LEAST_COSINE and agreement >= LEAST_AGREEMENT:
                why = f"on {len(images)} images its features agree with plain ones (least cosine {cosine:.4f})"
                return Choice(kind, why, figures)
        return Choice(kinds[-1], "no other saves time, with features that agree", figures)


def available(device: torch.device) -> list[Kind]:
    """What this machine has, the fastest first."""
    found = []
    precisions: list[Literal["float32", "bfloat16"]] = ["bfloat16", "float32"] if _has_bfloat16(device) else ["float32"]
    if device.type == "cpu" and openvino.is_installed():
        found = [Kind("openvino", precision) for precision in precisions]
    return [*found, *(Kind("eager", precision) for precision in precisions), Kind("eager", "exact")]


def agree(plain: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How far features (n, …) of the same images by two engines agree.

    Returns the least cosine of an image's standardized features, which are what a head reads, and the share of the
    images whose most similar other image is the same: one nearest neighbour would predict the same.
    """
    plain, other = plain.reshape(len(plain), -1), other.reshape(len(other), -1)
    mean, deviation = plain.mean(0), plain.std(0)
    deviation = np.maximum(deviation, 0.01 * deviation.mean() + 1e-12)  # what hardly varies is all noise
    plain, other = ((features - mean) / deviation for features in (plain, other))
    lengths = np.linalg.norm(plain, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (plain * other).sum(1) / np.maximum(lengths, 1e-12)
    return float(cosines.min()), float((_most_similar(plain, plain) == _most_similar(other, plain)).mean())


def _most_similar(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each row, the place of the nearest one among `others`, but not that at its own place."""
    distances = (others**2).sum(1) - 2 * features @ others.T
    np.fill_diagonal(distances, np.inf)
    nearest: np.ndarray = distances.argmin(1)
    return nearest


def _said(engine: Engine, images: np.ndarray) -> np.ndarray:
    """What it says of images, however many it takes at once."""
    parts = -(-len(images) // engine.batch)
    whole = images[np.arange(parts * engine.batch) % len(images)]
    return np.concatenate([engine(part) for part in np.split(whole, parts)])[: len(images)]


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
