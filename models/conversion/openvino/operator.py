"""One operator of an OpenVINO model, with its inputs as values of the graph that is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.conversion.errors import UnsupportedOperator

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.padding import Sides
    from models.conversion.values import Value


@dataclass(frozen=True)
class Operator:
    """An operator, its attributes, and where its layer lies in the network."""

    builder: GraphBuilder
    kind: str
    """OpenVINO's name of the operator."""
    path: str
    inputs: list[Value]
    attributes: dict[str, Any]
    num_outputs: int = 1

    def require_ints(self, index: int) -> list[int]:
        """Get an input that must be a constant, as integers."""
        if not self.inputs[index].is_constant:
            raise UnsupportedOperator(
                f"{self.kind} at {self.path} depends on sizes that are computed from the image or the batch. Export "
                "the network for images of one size, with a batch of 1."
            )
        return self.inputs[index].to_ints()

    def axes(self, index: int, ndim: int) -> list[int]:
        """Get an input as axes of a value with this number of them, counted from the front."""
        return [axis % ndim for axis in self.require_ints(index)]

    def pads(self) -> Sides | None:
        """Get explicit padding; None if the output's size decides it, as in TensorFlow's SAME."""
        mode = str(self.attributes.get("auto_pad", "explicit")).lower()
        if mode in ("same_upper", "same_lower"):
            return None
        if mode == "valid":
            zeros = [0] * len(self.attributes["pads_begin"])
            return zeros, list(zeros)
        return list(self.attributes["pads_begin"]), list(self.attributes["pads_end"])

    def unsupported(self, what: str) -> UnsupportedOperator:
        """Make the error that this operator is used in a way that is not supported."""
        return UnsupportedOperator(
            f"The operator {self.kind} at {self.path} {what}, which has no counterpart here. Export the network "
            "without it."
        )
