"""Options of exports, and the formats that have them."""

from __future__ import annotations

from typing import Literal

from service.exports.errors import ExportOptionUnfit
from service.types import DescribedModel

Format = Literal["onnx", "pt2", "bundle", "hub"]
FORMATS: dict[str, str] = {"onnx": "onnx", "pt2": "pt2", "bundle": "zip", "hub": "hub.zip"}
"""Formats that a worker makes, and the endings of their files."""


class ExportOptions(DescribedModel):
    """Options of a request for a format; all but the defaults are for ONNX alone."""

    preprocessing: bool = False
    """The model takes uint8 RGB images of the network's size, (N, H, W, 3), and normalizes them itself."""
    resize: bool = False
    """With preprocessing, images are of any size: the model resizes and crops them itself."""
    softmax: bool = False
    """The model gives probabilities in place of logits."""
    precision: Literal["float32", "int8"] = "float32"

    def name_variant(self, format: str) -> str:
        """Name the format with these options in one word. Raises ExportOptionUnfit."""
        given = [f"{name}={value}" for name, value in self.model_dump(exclude_defaults=True).items()]
        if given and format != "onnx":
            raise ExportOptionUnfit(f"format={format} has no option {given[0]}; it is one of format=onnx.")
        if self.resize and not self.preprocessing:
            raise ExportOptionUnfit(
                "resize=true is part of the preprocessing inside the model: add preprocessing=true, or leave it out."
            )
        return "&".join([format, *sorted(given)]).lower()
