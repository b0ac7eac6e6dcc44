"""One call of a Keras layer, with its inputs as values of the graph that is built.

Keras's images and maps are (B, H, W, C). In the graph, every value with four axes is kept as (B, C, H, W), as torch's
layers take it: `axis` says where an axis of Keras is, and `in_keras_order` and `store` move them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.conversion.errors import UnsupportedOperator
from models.conversion.shapes import permute
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.keras.weights import LayerAddress, LayerWeights

CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
AXES = (0, 2, 3, 1)
"""Where the axes (B, H, W, C) are in (B, C, H, W)."""


@dataclass(frozen=True)
class Call:
    """A layer, or a function used as one, its configuration and what it is called with."""

    builder: GraphBuilder
    kind: str
    path: str
    config: dict[str, Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    address: LayerAddress
    weights: LayerWeights
    is_keras_2: bool

    @property
    def x(self) -> Value:
        """The one tensor that the layer takes."""
        first = self.arguments[0]
        if isinstance(first, list | tuple) and len(first) == 1:
            first = first[0]
        if not isinstance(first, Value):
            raise self.unsupported("takes other than one tensor")
        return first

    @property
    def tensors(self) -> list[Value]:
        """The tensors that the layer takes, at least two."""
        several = self.arguments[0] if isinstance(self.arguments[0], list | tuple) else self.arguments
        if len(several) < 1 or not all(isinstance(value, Value) for value in several):
            raise self.unsupported("takes other than tensors")
        return list(several)

    def find_weights(self, *names: str, part: str = "") -> dict[str, torch.Tensor]:
        """Find the layer's weights by their names, in the order of their creation."""
        return self.weights.find(self.address, names, part)

    def axis(self, axis: int, ndim: int) -> int:
        """Find where an axis of Keras is in the graph's value."""
        return AXES[axis % 4] if ndim == 4 else axis % ndim

    def in_keras_order(self, value: Value) -> Value:
        """Put the axes of a value in Keras's order."""
        return permute(self.builder, value, CHANNELS_LAST, self.path) if value.ndim == 4 else value

    def store(self, value: Value) -> Value:
        """Put the axes of a value from Keras's order into that of the graph."""
        return permute(self.builder, value, CHANNELS_FIRST, self.path) if value.ndim == 4 else value

    def constant(self, numbers: Any, ndim: int) -> Value:
        """Make a constant that is broadcast with a value of this number of axes."""
        tensor = torch.as_tensor(numbers, dtype=torch.float32)
        if tensor.ndim == 0 or ndim != 4:
            return Value.constant(tensor)
        tensor = tensor.reshape([1] * (4 - tensor.ndim) + list(tensor.shape))
        return Value.constant(tensor.permute(CHANNELS_FIRST).contiguous())

    def require(self, name: str, *allowed: Any) -> None:
        """Check that an entry of the configuration has one of these values; the first stands for none."""
        value = self.config.get(name, allowed[0])
        if value not in allowed:
            raise self.unsupported(f"has {name} {value!r}")

    def unsupported(self, what: str) -> UnsupportedOperator:
        """Make the error that this layer is used in a way that is not supported."""
        return UnsupportedOperator(
            f"The layer {self.address.name!r} ({self.kind}) {what}, which is not supported. Export the network with "
            "model.export(folder) in Keras, and send the SavedModel in a zip."
        )


def pair(numbers: int | Sequence[int]) -> list[int]:
    """Read a size of two axes, given as one number or as two."""
    return [numbers, numbers] if isinstance(numbers, int) else [int(number) for number in numbers]
