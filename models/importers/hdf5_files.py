"""Tell Keras's HDF5 files apart: a whole network, weights with their layers' names, and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.importers import refusals
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from pathlib import Path


def recognize(path: Path, name: str) -> str:
    """Recognize an HDF5 file: keras_h5 holds a network with its weights, keras_weights weights alone.

    Raises ImportRejected.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportRejected(
            "extra_missing",
            f"{name} is an HDF5 file, and this server lacks h5py, which reads it. Its operator installs it with: "
            "pip install 'graft[import]'",
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return _recognize(file, name)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise refusals.TRUNCATED.of(name, f"HDF5: {' '.join(str(error).split())[:200]}") from error


def _recognize(file: Any, name: str) -> str:
    if "model_config" in file.attrs:
        return "keras_h5"
    if "layer_names" in file.attrs or {"layers", "_layer_checkpoint_dependencies"} & set(file):
        return "keras_weights"
    groups = [file[key] for key in list(file)[:10]]
    if any("weight_names" in group.attrs for group in groups):
        return "keras_weights"
    raise refusals.UNKNOWN_HDF5.of(name)
