"""One operator of an ONNX graph, with its attributes and the values that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.conversion.errors import UnsupportedOperator
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.conversion.graph_builder import GraphBuilder


@dataclass(frozen=True)
class Operator:
    """An operator: what it is called with, and how it is set."""

    kind: str
    """Its type, as in "Conv"."""
    path: str
    """The path of the module that it belongs to."""
    opset: int
    """The version of ONNX's operators."""
    inputs: Sequence[Value | None]
    """Its inputs; None for an optional one that is left out."""
    attributes: Mapping[str, Any]
    outputs: int = 1
    """The number of its outputs."""

    def get(self, index: int) -> Value | None:
        """Get an optional input."""
        return self.inputs[index] if index < len(self.inputs) else None

    def require(self, index: int) -> Value:
        """Get an input; raises UnsupportedOperator if it is missing."""
        value = self.get(index)
        if value is None:
            raise UnsupportedOperator(f"It lacks input {index}.")
        return value

    @property
    def x(self) -> Value:
        """The first input."""
        return self.require(0)

    def get_int(self, name: str, default: int = 0) -> int:
        """Get an attribute that is an integer."""
        return int(self.attributes.get(name, default))

    def get_float(self, name: str, default: float = 0.0) -> float:
        """Get an attribute that is a number."""
        return float(self.attributes.get(name, default))

    def get_text(self, name: str, default: str = "") -> str:
        """Get an attribute that is a string."""
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def get_ints(self, name: str) -> list[int] | None:
        """Get an attribute that is a list of integers, if it is there."""
        value = self.attributes.get(name)
        return None if value is None else [int(number) for number in value]

    def ints_at(self, index: int, name: str) -> list[int] | None:
        """Get integers that older versions have as an attribute and newer ones as a constant input."""
        value = self.get(index)
        if value is None:
            return self.get_ints(name)
        if not value.is_constant:
            raise UnsupportedOperator(f"Its {name} are computed from the image or from the size of the batch.")
        return value.to_ints()

    def number_at(self, index: int, name: str) -> float | None:
        """Get a number that older versions have as an attribute and newer ones as a constant input."""
        value = self.get(index)
        if value is None:
            return None if name not in self.attributes else self.get_float(name)
        if not value.is_constant or value.tensor.numel() != 1:
            raise UnsupportedOperator(f"Its {name} is not one constant number.")
        return float(value.tensor.item())


Converter = Callable[["GraphBuilder", Operator], "Value | list[Value]"]
"""Converts one operator into a value, or into several."""


def shape_value(x: Value) -> Value:
    """Get the shape of a value as a value, of which the batch's size may be a part."""
    first, second = (torch.tensor(list(sample.shape), dtype=torch.int64) for sample in x.samples)
    return Value((first, first if torch.equal(first, second) else second))
