"""Paths of an OpenVINO model's operators: its own names where it has kept them, else stages by resolution."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from models.conversion.naming import clean_path, group_block_names, split_scopes, strip_common_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

GENERATED = re.compile(r"\w*?_?\d+|[A-Z]\w*_\d+(?:_\w+)*")
"""Names that converters make up: Convolution_305, Transpose_12, 17."""
WINDOWED = ("Convolution", "GroupConvolution", "MaxPool", "AvgPool")
"""Operators that lower the resolution."""
KEPT_SHARE = 0.5
"""Share of operators whose names must be kept for the names to be used."""


def name_paths(operators: Sequence[Any]) -> dict[str, str]:
    """Give each operator the path of its layer, by the operator's unique name in OpenVINO.

    Names of TensorFlow are the paths of its layers, and end in the operator's own; OpenVINO drops those of what it
    moves. An operator without a name lies in a stage, stage.0, stage.1, …, which ends where the resolution falls.
    """
    names = {operator.get_name(): _read_scopes(operator.get_friendly_name()) for operator in operators}
    kept = [scopes for scopes in names.values() if scopes]
    if len(kept) < KEPT_SHARE * len(names):
        names, kept = {name: [] for name in names}, []
    shared = strip_common_scope(scopes for scopes in kept if len(scopes) > 1)
    stages = _Stages()
    paths = {}
    for operator in operators:
        stage = stages.find(operator)
        path = group_block_names(clean_path(_strip(names[operator.get_name()], shared)))
        paths[operator.get_name()] = path or stage
    return paths


def _strip(scopes: list[str], shared: int) -> list[str]:
    """Leave out the scopes that all operators share, but never all that there are."""
    return scopes[shared:] if len(scopes) > shared else scopes[-1:]


def _read_scopes(name: str) -> list[str]:
    """Split a name into its scopes; none, if a converter has made it up."""
    name = name.split(";")[-1].split(":")[0]
    scopes = split_scopes(name)
    return scopes or ([] if GENERATED.fullmatch(name) else [name])


class _Stages:
    """Numbers the resolutions of a network, from the image on."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def find(self, operator: Any) -> str:
        """Name the stage of the next operator."""
        shape = operator.get_output_partial_shape(0)
        is_map = shape.rank.is_static and len(shape) == 4 and shape[2].is_static
        size = shape[2].get_length() if is_map else 0
        if operator.get_type_name() in WINDOWED and 1 < size < min(self._numbers, default=size + 1):
            self._numbers[size] = len(self._numbers)
        if size in self._numbers:
            return f"stage.{self._numbers[size]}"
        if size <= 1 and self._numbers:
            return f"stage.{len(self._numbers) - 1}"
        return "stem"
