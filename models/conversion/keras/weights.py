"""Weights of a Keras file by layer: the HDF5 layouts of Keras 2 and of Keras 3."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from models.conversion.errors import FileBroken, UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DATASETS = 50_000
MAX_BYTES = 16 << 30


class LayerWeights(Protocol):
    """Finds the weights of layers."""

    def find(self, address: LayerAddress, names: Sequence[str], part: str = "") -> dict[str, torch.Tensor]:
        """Find a layer's weights, named in the order of its creation. Raises FileBroken."""
        ...

    def list_unused(self) -> list[str]:
        """List the weights in the file that no layer has asked for."""
        ...


@dataclass(frozen=True)
class LayerAddress:
    """A layer's position: in the networks around it, and among its neighbours of the same class."""

    name: str
    top: str
    """Name of the outermost layer that holds it, which may be the layer itself."""
    numbered: str
    """Path in Keras 3's files, of the classes' names in snake case with numbers: layers/functional/layers/conv2d_1."""


def read_datasets(file: Any, root: str) -> dict[str, np.ndarray]:
    """Read all arrays below a group of an HDF5 file, and nothing that lies in other files.

    Raises FileBroken, UnsupportedModel.
    """
    import h5py

    found: dict[str, np.ndarray] = {}
    total = 0
    waiting = [(root, file[root])]
    while waiting:
        path, group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsupportedModel(f"{path}/{name} is a link, maybe to another file. Save the network again.")
            item = group[name]
            address = f"{path}/{name}".strip("/")
            if isinstance(item, h5py.Group):
                waiting.append((address, item))
                continue
            total += item.nbytes
            if item.external or item.is_virtual:
                raise UnsupportedModel(f"The weights of {address} lie in another file. Save the network again.")
            if len(found) >= MAX_DATASETS or total > MAX_BYTES or not np.issubdtype(item.dtype, np.number):
                raise FileBroken(f"{address} holds no weights, or there are more than fit. Save the network again.")
            found[address] = item[()]
        if len(waiting) > MAX_DATASETS:
            raise FileBroken("The file has too many groups. Save the network again.")
    return found


@dataclass
class NumberedWeights:
    """Weights of Keras 3: by class and number, each layer's in the order of their creation."""

    arrays: dict[str, np.ndarray]
    used: set[str] = field(default_factory=set)

    def find(self, address: LayerAddress, names: Sequence[str], part: str = "") -> dict[str, torch.Tensor]:
        """Find a layer's weights by their numbers."""
        folder = f"{address.numbered}/{part}/vars/" if part else f"{address.numbered}/vars/"
        paths = [f"{folder}{index}" for index in range(len(names)) if f"{folder}{index}" in self.arrays]
        if len(paths) < len(names):
            raise FileBroken(_missing(address.name, names, len(paths)))
        self.used.update(paths)
        return {name.split("|")[0]: _to_tensor(self.arrays[path]) for name, path in zip(names, paths, strict=True)}

    def list_unused(self) -> list[str]:
        """List the weights that no layer has asked for, but for states of random generators and optimizers."""
        ignored = ("seed_generator", "optimizer", "metrics", "loss_tracker")
        return sorted(path for path in self.arrays if path not in self.used and not any(n in path for n in ignored))


@dataclass
class NamedWeights:
    """Weights of Keras 2, and of `.h5` by Keras 3: by the layer's and the weight's names."""

    arrays: dict[str, np.ndarray]
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Sort the weights by outermost layer and own name."""
        self._by_name: dict[tuple[str, str], list[str]] = {}
        for path in self.arrays:
            parts = path.removeprefix("model_weights/").split("/")
            self._by_name.setdefault((parts[0], re.sub(r":\d+$", "", parts[-1])), []).append(path)

    def find(self, address: LayerAddress, names: Sequence[str], part: str = "") -> dict[str, torch.Tensor]:
        """Find a layer's weights by their names."""
        found = {}
        for name in names:
            parts = [part.removesuffix("_dense").replace("output", "attention_output")] if part else []
            paths = [
                path
                for wanted in name.split("|")
                for path in self._by_name.get((address.top, wanted), [])
                if _matches(path, address.top, [address.name, *parts, wanted])
            ]
            if not paths and len(names) == 1:  # a variable without a name of its own
                paths = [path for path in self.arrays if path.split("/")[-2:-1] == [address.name]]
            if len(paths) != 1:
                raise FileBroken(_missing(address.name, names, len(paths)))
            self.used.add(paths[0])
            found[name.split("|")[0]] = _to_tensor(self.arrays[paths[0]])
        return found

    def list_unused(self) -> list[str]:
        """List the weights that no layer has asked for."""
        return sorted(path for path in self.arrays if path not in self.used and "seed_generator" not in path)


@dataclass
class OrderedWeights:
    """Weights that have been matched with layers: each layer's in the order of their creation."""

    arrays: dict[str, list[np.ndarray]]

    def find(self, address: LayerAddress, names: Sequence[str], part: str = "") -> dict[str, torch.Tensor]:
        """Find a layer's weights by their order."""
        own = self.arrays.get(address.name, [])
        if len(own) != len(names) or part:
            raise FileBroken(_missing(address.name, names, len(own)))
        return {name.split("|")[0]: _to_tensor(array) for name, array in zip(names, own, strict=True)}

    def list_unused(self) -> list[str]:
        """Give nothing: every array has been matched."""
        return []


def _matches(path: str, top: str, wanted: Sequence[str]) -> bool:
    """Tell whether a path is that of a weight: the outermost layer, …, the layer's name, the weight's name."""
    first, *rest = path.removeprefix("model_weights/").split("/")
    rest = [re.sub(r":\d+$", "", part) for part in rest]
    if first != top or rest[-1:] != list(wanted[-1:]):
        return False
    scopes = rest[:-1]
    if len(wanted) == 3:
        return scopes[-1:] == [wanted[1]] and (wanted[0] in scopes or first == wanted[0])
    return scopes[-1:] == [wanted[0]] or (first == wanted[0] and (not scopes or wanted[0] not in scopes))


def _missing(name: str, names: Sequence[str], count: int) -> str:
    return (
        f"The layer {name!r} needs the weights {', '.join(names)}; the file has {count} that could be them. Save the "
        "whole network again, with model.save('model.keras')."
    )


def _to_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
