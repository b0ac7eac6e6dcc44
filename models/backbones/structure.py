"""Structure of a network beyond its architecture: a graph, or layers in place of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.backbones.errors import ConfigurationBroken
from models.networks import graph_file
from models.networks.graph_copy import GraphError
from models.networks.replaced_layers import LayerList, parse_replaced

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG = "config.json"
MAX_CONFIG_BYTES = 16 << 20
"""Largest config.json that is read: several times that of one with the names and descriptions of 21,000 classes."""
GRAPH = "graph"
"""The architecture that a config.json names where graph.json describes the network."""
REPLACED = "replaced"
"""Key of config.json: layers that stand in place of the library's own."""
ORIGINAL = "converted_from"
"""Key of config.json: the class of transformers that a graph was converted from."""


@dataclass(frozen=True)
class Structure:
    """Structure of a network; empty where its architecture says all."""

    graph: dict[str, Any] | None = None
    """The description of a graph, as graph.json has it."""
    replaced: Mapping[str, LayerList] = field(default_factory=dict)
    """Layers in place of the library's own, as under a checkpoint's MLP head."""
    original: str | None = None
    """The class of transformers that a graph was converted from."""


def check_config_file(name: str, folder: Path) -> None:
    """Check that a folder has a config.json of a size that is read; raises ConfigurationBroken."""
    file = folder / CONFIG
    try:
        size = file.stat().st_size
        is_file = file.is_file()
    except OSError as error:
        raise ConfigurationBroken(f"The {CONFIG} of {name} cannot be read: {error.strerror}.") from error
    if not is_file:
        raise ConfigurationBroken(f"The {CONFIG} of {name} is no file.")
    if size > MAX_CONFIG_BYTES:
        raise ConfigurationBroken(f"The {CONFIG} of {name} has {size:,} bytes; at most {MAX_CONFIG_BYTES:,} are read.")


def read_structure(name: str, folder: Path) -> Structure:
    """Read the structure of a network from a folder whose config.json was checked; raises ConfigurationBroken."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        replaced = parse_replaced(config.get(REPLACED))
        original = config.get(ORIGINAL)
        if not isinstance(original, str | None):
            raise TypeError(f"{ORIGINAL} is no text")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationBroken(f"The {CONFIG} of {name} cannot be read ({error}).") from error
    if config.get("architecture") != GRAPH:
        return Structure(replaced=replaced)
    try:
        return Structure(graph_file.read(folder / graph_file.GRAPH), replaced, original)
    except GraphError as error:
        raise ConfigurationBroken(f"The {graph_file.GRAPH} of {name} cannot be used: {error}") from error
