"""Engine selection: the fastest engine whose features agree with those of eager PyTorch in float32."""

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
"""Expected speed-up over the reference, by precision: 1.6 to 2 and 2 to 6 times were measured."""
WORTH_SECONDS = 1.0
"""Least time that an engine must save beyond its setup; else the reference computes, whose features never vary."""
LEAST_SAMPLE = 16
"""Least number of images on which engines are compared: each needs neighbours."""
LEAST_COSINE = 0.95
"""Least cosine between the standardized features of an image by an engine and by the reference."""
LEAST_AGREEMENT = 0.85
"""Least share of images with the same nearest neighbour by an engine and by the reference."""


@dataclass(frozen=True)
class EngineConfig:
    """An engine and its precision; `exact` is float32 on images that Pillow has resized."""

    engine: Literal["eager", "openvino"]
    precision: Literal["exact", "float32", "bfloat16"]

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


REFERENCE = EngineConfig("eager", "float32")
"""The configuration that others are compared with; it runs everywhere."""


@dataclass(frozen=True)
class EngineChoice:
    """Chosen engine configuration, the reason, and what was measured."""

    config: EngineConfig
    reason: str
    measurements: dict[str, float]

    @property
    def seconds_per_image(self) -> float | None:
        """Expected seconds to compute one image; None if nothing was measured, since nothing is to be computed."""
        plain = self.measurements.get("plain_seconds")
        if plain is None or self.config.engine == "eager":
            return plain
        return plain / SPEED_UP[self.config.precision]


class EngineSelector:
    """Selects and builds the engine of one trunk."""

    def __init__(self, trunk: Trunk, input_size: tuple[int, int, int], folder: Path, digest: str) -> None:
        """Take a trunk on its reference engine, and a folder for compiled models, named by the trunk's digest."""
        self._trunk, self._input_size, self._folder, self._digest = trunk, input_size, folder, digest
        self._engines: dict[EngineConfig, Engine] = {}

    def list_configs(self, engine: str, precision: str) -> list[EngineConfig]:
        """List the configurations of this machine that a recipe allows, the fastest first; may be empty."""
        return [
            config
            for config in list_available(self._trunk.device)
            if engine in ("auto", config.engine)
            and (precision == config.precision or (precision == "auto" and config.precision != "exact"))
        ]

    def choose(
        self,
        configs: Sequence[EngineConfig],
        count_missing: Callable[[EngineConfig], int],
        render_sample: Callable[[int], np.ndarray],
    ) -> EngineChoice:
        """Choose the fastest configuration that saves time and agrees with the reference.

        Args:
            configs: the fastest first, the one to fall back to last.
            count_missing: counts the images whose features by a configuration are not cached.
            render_sample: renders this many images of the dataset, (n, 3, H, W) uint8.
        """
        if len(configs) == 1:
            return EngineChoice(configs[0], "no other was asked for", {})
        missing = {config: count_missing(config) for config in configs}
        for config in configs:
            if missing[config] == 0:
                return EngineChoice(config, "its features are cached", {})

        images = render_sample(max(LEAST_SAMPLE, self._trunk.batch_size))
        began = time.perf_counter()
        parts = range(0, len(images), self._trunk.batch_size)
        reference = np.concatenate([self._trunk(images[part : part + self._trunk.batch_size]) for part in parts])
        seconds = (time.perf_counter() - began) / len(images)
        measurements = {"plain_seconds": seconds}

        *candidates, fallback = configs
        for config in candidates:
            engine = self.build(config)
            saved = seconds * (missing[fallback] - missing[config] / SPEED_UP[config.precision])
            if saved < engine.setup_seconds + WORTH_SECONDS:
                continue
            cosine, agreement = measure_agreement(reference, _compute_features(engine, images))
            measurements |= {f"{config} cosine": cosine, f"{config} agreement": agreement}
            if cosine >= LEAST_COSINE and agreement >= LEAST_AGREEMENT:
                reason = f"on {len(images)} images its features agree with {REFERENCE} (least cosine {cosine:.4f})"
                return EngineChoice(config, reason, measurements)
        return EngineChoice(fallback, "no other saves time with features that agree", measurements)

    def build(self, config: EngineConfig) -> Engine:
        """Build an engine, once for each configuration: setup after a trial is not repeated."""
        if config not in self._engines:
            self._engines[config] = self._create(config)
        return self._engines[config]

    def _create(self, config: EngineConfig) -> Engine:
        trunk = self._trunk
        if config.engine == "eager":
            dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
            return Eager(trunk.network, trunk.normalize, dtype)
        assert config.precision != "exact"
        return OpenVINO(trunk.network, trunk.normalize, self._input_size, config.precision, self._folder, self._digest)


def list_available(device: torch.device) -> list[EngineConfig]:
    """List the engine configurations of this machine, the fastest first."""
    precisions: list[Literal["float32", "bfloat16"]] = ["float32"]
    if _supports_bfloat16(device):
        precisions = ["bfloat16", "float32"]
    configs = [EngineConfig("eager", precision) for precision in precisions]
    if device.type == "cpu" and openvino.is_installed():
        configs = [*(EngineConfig("openvino", precision) for precision in precisions), *configs]
    return [*configs, EngineConfig("eager", "exact")]


def measure_agreement(reference: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Measure how well features (n, …) of the same images by two engines agree.

    Returns the least cosine of an image's standardized features, which are a head's input, and the share of images
    with the same nearest neighbour: a 1-nearest-neighbour classifier would predict the same for them.
    """
    reference, other = reference.reshape(len(reference), -1), other.reshape(len(other), -1)
    mean, deviation = reference.mean(0), reference.std(0)
    deviation = np.maximum(deviation, 0.01 * deviation.mean() + 1e-12)  # a nearly constant feature is all noise
    reference, other = ((features - mean) / deviation for features in (reference, other))
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (reference * other).sum(1) / np.maximum(lengths, 1e-12)
    is_same = _find_nearest(reference, reference) == _find_nearest(other, reference)
    return float(cosines.min()), float(is_same.mean())


def _find_nearest(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Find the index of each row's nearest neighbour among `others`, its own index excepted."""
    distances = (others**2).sum(1) - 2 * features @ others.T
    np.fill_diagonal(distances, np.inf)
    nearest: np.ndarray = distances.argmin(1)
    return nearest


def _compute_features(engine: Engine, images: np.ndarray) -> np.ndarray:
    """Compute the features of any number of images, in full batches."""
    batches = -(-len(images) // engine.batch_size)
    padded = images[np.arange(batches * engine.batch_size) % len(images)]
    return np.concatenate([engine(batch) for batch in np.split(padded, batches)])[: len(images)]


def _supports_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
