"""Traces a network to operations of plain torch, for images of one size: sizes decide branches, and become constants.

timm's own layers are traced too, though many ask for sizes of their input (`if H % window: …`). Each operation runs on
fake tensors as it is recorded, whose sizes are the answer. The number of images stays open: their count is a prime, by
which sizes that follow from it can be told from others.
"""

from __future__ import annotations

import math
import operator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.feature_extraction import NodePathTracer

from models.networks.graph_operations import describe_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

IMAGES = 1009
"""Number of fake images, a prime: a size that it divides is taken to depend on it."""
VALUE = "value"
"""Key of a node's metadata: what it gives for the fake images."""
KNOWN = {"ndim": "ndim", "dtype": "dtype", "is_cuda": "is_cuda", "requires_grad": "requires_grad"}


class PlainTracer(NodePathTracer):  # type: ignore[misc]
    """Torchvision's tracer, whose values know their sizes, down to layers of plain torch."""

    def __init__(self, input_size: tuple[int, int, int]) -> None:
        super().__init__(autowrap_modules=(math, torchvision.ops), leaf_modules=[])
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._input_size = input_size
        self._is_running = False

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        """Tell whether a module is one operation of the graph: a layer that a description can name."""
        return describe_module(m) is not None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Make the value of a node, as the network's code sees it."""
        return _SizedValue(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Get an attribute of a module; while an operation runs, itself."""
        return attr_val if self._is_running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a module; while an operation runs, without a record."""
        return forward(*args, **kwargs) if self._is_running else super().call_module(m, forward, args, kwargs)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Mapping[str, Any], *rest: Any, **more: Any
    ) -> Any:
        """Record an operation, and run it on what its arguments are for the fake images."""
        value = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if isinstance(value, fx.Proxy) and kind != "output":
            self.find_value(value.node)
        return value

    def find_value(self, node: fx.Node) -> Any:
        """Find what a node gives for the fake images."""
        if VALUE not in node.meta:
            self._is_running = True
            try:
                with self._fake, torch.no_grad():
                    node.meta[VALUE] = self._run(node)
            finally:
                self._is_running = False
        return node.meta[VALUE]

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.map_arg((node.args, node.kwargs), self.find_value)
        match node.op:
            case "placeholder":
                is_first = next(iter(self.graph.nodes)) is node
                return torch.empty(IMAGES, *self._input_size) if is_first else next(iter(args), None)
            case "get_attr":
                return attrgetter(str(node.target))(self.root)
            case "call_module":
                return self.root.get_submodule(str(node.target))(*args, **kwargs)
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


class _SizedValue(fx.Proxy):
    """A value that knows its sizes, but for those that depend on the number of images."""

    def __getattr__(self, name: str) -> Any:
        value = self.node.meta.get(VALUE)
        if isinstance(value, torch.Tensor):
            if name == "shape":
                return tuple(self.size(axis) for axis in range(value.ndim))
            if name == "device":
                return torch.device("cpu")
            if name in KNOWN:
                return getattr(value, name)
        return super().__getattr__(name)

    def size(self, axis: int | None = None) -> Any:
        """Get one size, or all."""
        value = self.node.meta[VALUE]
        if axis is None:
            return self.shape
        known = value.shape[axis]
        return self.tracer.create_proxy("call_method", "size", (self, axis), {}) if known % IMAGES == 0 else known

    def dim(self) -> int:
        """Count the axes."""
        count: int = self.node.meta[VALUE].ndim
        return count

    def numel(self) -> Any:
        """Multiply all sizes."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        value = self.node.meta[VALUE]
        if isinstance(value, torch.Tensor) and value.shape[0] % IMAGES == 0:
            raise fx.proxy.TraceError("the number of images is open")
        return len(value)

    def __iter__(self) -> Any:
        value = self.node.meta[VALUE]
        if isinstance(value, tuple | list):
            return iter([operator.getitem(self, place) for place in range(len(value))])
        return super().__iter__()
