"""PT2: a program of torch.export, with a dynamic batch and without example inputs, which would be a pickle."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from models.exporters.errors import NetworkUnsupported
from models.exporters.parity import find_first_difference, record_outputs

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn

MOST_IMAGES = 1 << 16
"""Largest batch that the program takes."""


def write(network: nn.Module, example: torch.Tensor, file: Path) -> None:
    """Write a network as a program of torch.export. Raises NetworkUnsupported."""
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
            program.example_inputs = None
            with file.open("wb") as opened:  # a path must end in .pt2
                torch.export.save(program, opened)
    except Exception as error:  # torch.export has many errors, and those of each operator
        reason = " ".join(str(error).split())[:300]
        raise NetworkUnsupported(
            f"torch.export cannot take this network for a batch of any size ({type(error).__name__}: {reason}). Use "
            "format=onnx or safetensors."
        ) from error


class Program:
    """A file of torch.export, loaded."""

    def __init__(self, file: Path) -> None:
        with warnings.catch_warnings(), file.open("rb") as opened:
            warnings.simplefilter("ignore")
            self._module = torch.export.load(opened).module()

    @torch.no_grad()
    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the program on a batch."""
        output: np.ndarray = self._module(torch.from_numpy(images)).numpy()
        return output

    def find_layer(self, network: nn.Module, images: np.ndarray) -> str:
        """Find the first module whose output the program computes differently, for one batch."""
        recorder = _Recorder(self._module)
        with torch.no_grad():
            recorder.run(torch.from_numpy(images))
        return find_first_difference(record_outputs(network, torch.from_numpy(images)), recorder.outputs)


class _Recorder(Interpreter):
    """Runs a program, and records the last output in each module."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.outputs: dict[str, np.ndarray] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node, and record its output under the path of its module."""
        output = super().run_node(n)
        stack = n.meta.get("nn_module_stack") or {}
        if stack and isinstance(output, torch.Tensor):
            path, _ = list(stack.values())[-1]
            self.outputs[path] = output.numpy().copy()  # others may work in place
        return output
