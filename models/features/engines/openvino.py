"""OpenVINO engine: compiles a network for this machine's processor and caches the compiled model on disk."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import warnings
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from models.features.engines.batch_size import limit_batch_size

if TYPE_CHECKING:
    from pathlib import Path

    from models.features.engines.normalize import Normalize

IMAGES_PER_REQUEST = 4
"""Most images in one inference request: the fewer, the more of a layer's output is cached when the next reads it."""
REQUESTS_PER_STREAM = 2
"""Requests for each stream: one runs while the other waits."""
COMPILE_SECONDS = 2.0
"""Typical time to compile a network."""
READ_SECONDS = 0.3
"""Typical time to read a compiled model from disk."""


def is_installed() -> bool:
    """Tell whether OpenVINO is installed: it is an optional dependency."""
    return find_spec("openvino") is not None


class OpenVINO:
    """OpenVINO inference of a frozen network, one stream per core, compiled on first use.

    One stream on all cores is no faster for any size (measured: 2 cores, bfloat16, one a core against one for all, a
    tiny network 16,000 against 14,800 images/s, mobilenetv2_100 1,090 and 1,100, vit_tiny 298 and 279, resnet50 118
    and 115).
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: Normalize,
        input_size: tuple[int, int, int],
        precision: Literal["float32", "bfloat16"],
        folder: Path,
        digest: str,
        *,
        is_single: bool = False,
        images_per_request: int = IMAGES_PER_REQUEST,
    ) -> None:
        """Cache the compiled model in `folder`, by the network's `digest`, which covers its weights.

        Args:
            is_single: compute one image at a time, by all cores: an image that comes alone is computed soonest.
            images_per_request: of which a batch is a multiple.
        """
        streams = 1 if is_single else torch.get_num_threads()
        self._images_per_request = 1 if is_single else limit_batch_size(images_per_request, input_size)
        self.batch_size = self._images_per_request * (1 if is_single else REQUESTS_PER_STREAM * streams)
        self._network, self._input_size = nn.Sequential(normalize, network), input_size
        self._options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "PERFORMANCE_HINT": "LATENCY" if is_single else "THROUGHPUT",
            "NUM_STREAMS": str(streams),
        }
        key = f"{version('openvino')} {digest} {input_size} {self._images_per_request} {sorted(self._options.items())}"
        self._file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.blob"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute features: (B, 3, H, W) uint8 → (B, …) float32, of as many whole requests as a batch may have."""
        parts = np.split(images, len(images) // self._images_per_request)
        requests = self._requests[: len(parts)]
        for request, part in zip(requests, parts, strict=True):
            # Copied into the request's own memory: a shared array could be freed before it is read.
            request.input_tensors[0].data[:] = part
        if len(requests) == 1:
            requests[0].infer(share_outputs=True)  # in this thread: another takes 0.2 ms to begin and to tell
        else:
            for request in requests:
                request.start_async()
            for request in requests:
                request.wait()
        return np.concatenate([request.output_tensors[0].data for request in requests])

    @property
    def setup_seconds(self) -> float:
        """Typical extra time of the first batch."""
        return READ_SECONDS if self._file.exists() else COMPILE_SECONDS

    @cached_property
    def _requests(self) -> list[Any]:
        compiled = self._load() or self._compile()
        return [compiled.create_infer_request() for _ in range(self.batch_size // self._images_per_request)]

    def _compile(self) -> Any:
        shape = (self._images_per_request, *self._input_size)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracing warns of every shape that a network looks at
            example = torch.zeros(shape, dtype=torch.uint8)
            traced = torch.jit.trace(self._network, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = _import_openvino().convert_model(traced, example_input=example, input=list(shape))
        compiled = _import_openvino().Core().compile_model(model, "CPU", self._options)
        _save(compiled, self._file)
        return compiled

    def _load(self) -> Any:
        """Load the compiled model from disk; None if it is missing or broken."""
        try:
            os.utime(self._file)  # the cache evicts the least recently used files first
            return _import_openvino().Core().import_model(io.BytesIO(self._file.read_bytes()), "CPU", self._options)
        except (OSError, RuntimeError):
            return None


def _save(compiled: Any, file: Path) -> None:
    """Write a compiled model atomically; on a full disk nothing is written, and the next process compiles again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    try:
        unfinished.write_bytes(compiled.export_model().getvalue())
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)


def _import_openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else it reports to its makers
    import openvino

    return openvino
