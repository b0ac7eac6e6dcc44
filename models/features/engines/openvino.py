"""OpenVINO: a network compiled for this machine's processor. Its compiled form is kept on disk."""

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

if TYPE_CHECKING:
    from pathlib import Path

    from models.features.engines.normalize import Pixels

TOGETHER = 4
"""Images in one request: the fewer, the more of what a layer says is still near when the next one reads it."""
REQUESTS = 2
"""For each stream, one at work and one that waits."""
COMPILE_SECONDS = 2.0
READ_SECONDS = 0.3


def is_installed() -> bool:
    """Whether this machine has it: it is an extra."""
    return find_spec("openvino") is not None


class OpenVINO:
    """A frozen network on all cores, each with a stream of its own. It is compiled when it is first used.

    One stream on all cores is no faster for any size (measured: 2 cores, bfloat16, one a core against one for all, a
    tiny network 16,000 against 14,800 images/s, mobilenetv2_100 1,090 and 1,100, vit_tiny 298 and 279, resnet50 118
    and 115).
    """

    def __init__(
        self,
        network: nn.Module,
        pixels: Pixels,
        input_size: tuple[int, int, int],
        precision: Literal["float32", "bfloat16"],
        folder: Path,
        about: str,
    ) -> None:
        """Its compiled form is kept in `folder`, where `about`, the network's digest, names it."""
        streams = torch.get_num_threads()
        self.batch = TOGETHER * REQUESTS * streams
        self._network, self._input_size = nn.Sequential(pixels, network), input_size
        self._options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(streams),
        }
        said = f"{version('openvino')} {about} {input_size} {TOGETHER} {sorted(self._options.items())}"
        self._file = folder / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.blob"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(batch, 3, H, W) uint8 → (batch, …) float32."""
        requests = self._requests
        for request, part in zip(requests, np.split(images, len(requests)), strict=True):
            # Copied into the request's own memory: what is shared may be gone before it is read.
            request.input_tensors[0].data[:] = part
            request.start_async()
        for request in requests:
            request.wait()
        return np.concatenate([request.output_tensors[0].data for request in requests])

    @property
    def set_up_seconds(self) -> float:
        """What the first use takes longer, about."""
        return READ_SECONDS if self._file.exists() else COMPILE_SECONDS

    @cached_property
    def _requests(self) -> list[Any]:
        compiled = self._kept() or self._compiled()
        return [compiled.create_infer_request() for _ in range(self.batch // TOGETHER)]

    def _compiled(self) -> Any:
        shape = (TOGETHER, *self._input_size)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracing warns of every shape that a network looks at
            example = torch.zeros(shape, dtype=torch.uint8)
            traced = torch.jit.trace(self._network, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = _openvino().convert_model(traced, example_input=example, input=list(shape))
        compiled = _openvino().Core().compile_model(model, "CPU", self._options)
        _keep(compiled, self._file)
        return compiled

    def _kept(self) -> Any:
        """The compiled form from disk; none where there is none, or it is of no use."""
        try:
            os.utime(self._file)  # the cache deletes what was used longest ago
            return _openvino().Core().import_model(io.BytesIO(self._file.read_bytes()), "CPU", self._options)
        except (OSError, RuntimeError):
            return None


def _keep(compiled: Any, file: Path) -> None:
    """Write it, whole or not at all; a full disk means that it is compiled again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    try:
        unfinished.write_bytes(compiled.export_model().getvalue())
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)


def _openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else it reports to its makers
    import openvino

    return openvino
