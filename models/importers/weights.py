"""Weights of a file as names and tensors: what training scripts wrap around them is taken off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.backbones.torch_file import TorchFileBroken, TorchFileUnsafe, read_torch_file
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model",
            "teacher", "student", "network", "net", "backbone", "encoder", "weights", "params", "module")  # fmt: skip
"""Entries in which training scripts keep weights; an average of weights before the weights of the last step."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "network.", "net.", "encoder.", "teacher.", "student.")
"""What wrappers of networks put before all names: DataParallel, torch.compile, Lightning, DINO."""
MAX_DEPTH = 3


@dataclass(frozen=True)
class FileWeights:
    """Names and tensors of a file."""

    state: dict[str, torch.Tensor]
    notes: list[str] = field(default_factory=list)


def read_weights(file: Path, name: str) -> FileWeights:
    """Read the weights of a safetensors file, or of one that torch.save wrote; raises ImportRejected."""
    with file.open("rb") as opened:
        is_safetensors = opened.read(9)[8:] == b"{"
    if is_safetensors:
        try:
            return FileWeights(load_file(file))
        except (SafetensorError, OSError) as error:
            raise ImportRejected("file_broken", f"{name} is damaged ({error}). Copy it again.") from error
    try:
        content = read_torch_file(file)
    except TorchFileUnsafe as error:
        raise ImportRejected(
            "file_unsafe",
            f"{name} cannot be opened as weights alone: {error}. Save the weights alone, with "
            "torch.save(model.state_dict(), path), or as safetensors.",
        ) from error
    except TorchFileBroken as error:
        raise ImportRejected("file_broken", f"{name} cannot be read ({error}). Save it again, and send it.") from error
    return _unwrap(content, name, [], MAX_DEPTH)


def _unwrap(content: Any, name: str, notes: list[str], depth: int) -> FileWeights:
    """Find the weights in what training scripts save."""
    if not isinstance(content, dict):
        raise _refuse(name, f"it holds a {type(content).__name__}")
    state = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    inner = [key for key in content if isinstance(content[key], dict) and _holds_tensors(content[key])]
    if state and not inner:
        if not all(isinstance(key, str) for key in state):
            raise _refuse(name, "its tensors have no names")
        return FileWeights(state, notes)
    chosen = [key for key in WRAPPERS if key in inner] or (inner if len(inner) == 1 else [])
    if not chosen or depth == 0:
        shown = ", ".join(map(str, [*inner, *content][:5]))
        raise _refuse(name, f"it holds {shown}" if shown else "it holds nothing")
    others = [str(key) for key in inner if key != chosen[0] and key in WRAPPERS]
    also = f"; the file has {', '.join(others)} too" if others else ""
    notes = [*notes, f"The weights are those of {chosen[0]}{also}."]
    return _unwrap(content[chosen[0]], name, notes, depth - 1)


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping holds named tensors, or another that does; an optimizer's state has numbers for names."""
    return any(
        isinstance(key, str)
        and (isinstance(value, torch.Tensor) or (isinstance(value, dict) and _holds_tensors(value)))
        for key, value in content.items()
        if key not in ("optimizer", "optimizer_state_dict", "lr_scheduler", "scheduler", "scaler", "amp")
    )


def _refuse(name: str, what: str) -> ImportRejected:
    return ImportRejected(
        "unsupported_model",
        f"{name} holds no weights that are known by their names ({what}). Save them with "
        "torch.save(model.state_dict(), path), or as safetensors.",
    )


def strip_prefixes(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Give the weights as they are, and then under each prefix that wrappers put before names, from the shortest on.

    What does not have the prefix is left out.
    """
    waiting: list[tuple[str, dict[str, torch.Tensor]]] = [("", dict(state))]
    while waiting:
        stripped, names = waiting.pop(0)
        yield stripped, names
        for prefix in PREFIXES:
            below = {key.removeprefix(prefix): value for key, value in names.items() if key.startswith(prefix)}
            if below:
                waiting.append((stripped + prefix, below))
