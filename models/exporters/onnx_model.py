"""ONNX: a model for ONNX Runtime and others."""

from __future__ import annotations

import importlib.util
import json
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.exporters.errors import NetworkUnsupported, PackageMissing
from models.exporters.parity import find_first_difference, record_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from models.images.preprocessing import Preprocessing

OPSET = 18
PACKAGES = ("onnx", "onnxruntime")


class Deployed(nn.Module):
    """A network with what deployment asks for inside: pixels in, probabilities out."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing | None, *, softmax: bool, is_multi_label: bool
    ) -> None:
        """Take uint8 (N, H, W, 3) where there is a preprocessing; give probabilities where `softmax`."""
        super().__init__()
        self.network, self.takes_pixels = network, preprocessing is not None
        self.softmax, self.is_multi_label = softmax, is_multi_label
        if preprocessing is not None:
            self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
            self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits, or probabilities."""
        if self.takes_pixels:
            images = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        logits: torch.Tensor = self.network(images)
        if not self.softmax:
            return logits
        return logits.sigmoid() if self.is_multi_label else logits.softmax(1)


def _write_rms_norm(graph: Any, values: Any, shape: Any, weight: Any, epsilon: Any) -> Any:
    """Write x / sqrt(mean(x²) + ε) · weight, for which this opset has no operator (arXiv 1910.07467)."""
    from torch.onnx import symbolic_helper

    read: Any = symbolic_helper._get_const  # which has no types
    axes = [-1 - axis for axis in range(len(read(shape, "is", "normalized_shape")))]
    given = read(epsilon, "f", "eps")
    added = graph.op("Constant", value_t=torch.tensor(torch.finfo(torch.float32).eps if given is None else given))
    squares = graph.op("ReduceMean", graph.op("Mul", values, values), graph.op("Constant", value_t=torch.tensor(axes)))
    result = graph.op("Div", values, graph.op("Sqrt", graph.op("Add", squares, added)))
    return result if symbolic_helper._is_none(weight) else graph.op("Mul", result, weight)


def require_packages() -> None:
    """Check that this worker has the packages. Raises PackageMissing."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise PackageMissing(f"This worker lacks {name}, which writes ONNX: pip install 'graft[import]' there.")


def write(network: nn.Module, example: torch.Tensor, file: Path, classes: Sequence[str], about: dict[str, str]) -> None:
    """Write a network as ONNX with a dynamic batch, class names and facts in its metadata. Raises NetworkUnsupported.

    By torch's TorchScript exporter, which torch calls the old one. The new one (dynamo=True) needs onnxscript and took
    2 to 100 times as long, for logits as near: 16 networks of timm (ResNets, RegNet, MobileNets, EfficientNets,
    ConvNeXts, ViTs), all within 3e-6 by both; resnet50 3.5 and 13 s, mobilenetv2_100 1.7 and 177 s (torch 2.14.1, two
    shared cores). Both are in torch 2.11, too.
    """
    import onnx

    exporter: Any = torch.onnx  # whose types leave the registration out
    exporter.register_custom_op_symbolic("aten::rms_norm", _write_rms_norm, OPSET)
    output = "probabilities" if getattr(network, "softmax", False) else "logits"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own age, and of sizes that are constants here
            torch.onnx.export(
                network,
                (example,),
                str(file),
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=[output],
                dynamic_axes={"images": {0: "batch"}, output: {0: "batch"}},
            )
    except Exception as error:  # the exporter has many errors, and those of each operator
        reason = " ".join(str(error).split())[:300]
        raise NetworkUnsupported(
            f"torch cannot write this network as ONNX ({type(error).__name__}: {reason}). Use format=pt2 or "
            "safetensors."
        ) from error
    model = onnx.load(str(file))
    for key, value in {"class_names": json.dumps(list(classes)), "opset": str(OPSET), **about}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(file))


class Session:
    """An ONNX file in ONNX Runtime, on the processor."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the model on a batch."""
        (output,) = self._session.run(None, {"images": images})
        result: np.ndarray = output
        return result

    def run_all(self, images: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Run the model on a batch; returns some of its outputs."""
        results: list[np.ndarray] = self._session.run(outputs, {"images": images})
        return results


def find_layer(network: nn.Module, file: Path, images: np.ndarray) -> str:
    """Find the first module whose output the model computes differently, for one batch."""
    import onnx

    model = onnx.load(str(file))
    last: dict[str, str] = {}
    for node in model.graph.node:
        last[name_module(node.name)] = node.output[0]
    known = {value.name for value in model.graph.output}
    added = {path: name for path, name in last.items() if path and name not in known}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in added.values())
    traced = file.with_name("traced.onnx")
    onnx.save(model, str(traced))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(traced), providers=["CPUExecutionProvider"])
    found = dict(zip(added, session.run(list(added.values()), {"images": images}), strict=True))
    # The model has convolutions and the normalizations behind them in one: what follows them can be compared.
    expected = record_outputs(network, torch.from_numpy(images), besides=(nn.Conv1d, nn.Conv2d, nn.BatchNorm2d))
    return find_first_difference(expected, found)


def name_module(node: str) -> str:
    """Name the module of an operator: that of /layer1/layer1.0/conv1/Conv is layer1.0.conv1."""
    path = ""
    for part in node.strip("/").split("/")[:-1]:
        path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
    return path
