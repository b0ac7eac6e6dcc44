"""Module paths of an ONNX model's operators, from what its exporter wrote."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from models.conversion.naming import clean_path, group_block_names, split_scopes, strip_common_scope

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx

WEIGHTS = re.compile(r"^(.+)\.(weight|bias|gamma|beta|kernel|running_mean|running_var)$")


def find_paths(nodes: Sequence[onnx.NodeProto], initializers: Collection[str]) -> list[str] | None:
    """Find the path of each operator; None if most have none.

    Torch's newer exporter writes the modules that an operator is in as metadata, the older one and TensorFlow's into
    its name. Where neither did, the names of weights tell, and an operator without weights is where the last one was.
    """
    scopes = [_read_scopes(node) for node in nodes]
    if sum(map(bool, scopes)) * 2 >= len(nodes):
        common = strip_common_scope(scopes)
        return [group_block_names(clean_path(scope[common:])) for scope in scopes]
    weights = [_find_weights(node, initializers) for node in nodes]
    if sum(map(bool, weights)) * 8 >= len(nodes):
        return _follow(weights)
    names = [group_block_names(clean_path([node.name])) for node in nodes]
    return names if sum("." in name for name in names) * 2 >= len(nodes) else None


def _read_scopes(node: onnx.NodeProto) -> list[str]:
    """Read the names of the modules that an operator is in, from outside to inside, each without the one before."""
    for entry in node.metadata_props:
        if entry.key.endswith("name_scopes") and len(entry.value) < 10_000:
            try:
                found = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(found, list) and all(isinstance(scope, str) for scope in found):
                modules = [scope for scope in found[:-1] if scope]
                return modules[-1:]
    return split_scopes(node.name or (node.output[0] if node.output else ""))


def _find_weights(node: onnx.NodeProto, initializers: Collection[str]) -> str:
    """Find the module whose weights an operator reads."""
    matches = (WEIGHTS.match(name) for name in node.input if name in initializers)
    return next((clean_path([match[1]]) for match in matches if match), "")


def _follow(paths: Sequence[str]) -> list[str]:
    """Put operators without a path into the module that the one before is in."""
    found, last = [], ""
    for path in paths:
        last = path.rpartition(".")[0] if path else last
        found.append(path or last)
    return found
