"""A folder of transformers: which files it has, and what of them is never opened."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from safetensors import SafetensorError, safe_open

from models.conversion.errors import FileBroken, UnsupportedModel, WeightsUnsafe

if TYPE_CHECKING:
    from pathlib import Path

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that may say how images are prepared."""
UNSAFE = {".bin", ".ckpt", ".h5", ".msgpack", ".pkl", ".pt", ".pth"}
"""Ends of the names of weights that are not opened."""
MAX_JSON_BYTES = 64 << 20
"""Largest file of JSON that is read."""
LICENCE = re.compile(r"^license:[ \t]*['\"]?([\w.+-]{1,100})", re.MULTILINE)
"""The licence in the header of a repository's card."""


@dataclass(frozen=True)
class TransformersFolder:
    """A folder whose files have been looked at."""

    folder: Path
    config: dict[str, Any]
    """Content of its config.json."""
    tensors: set[str]
    """Names of the tensors in its files of weights."""
    has_processor: bool
    """Whether a file says how images are prepared."""
    licence: str | None
    """As its card says."""

    @classmethod
    def open(cls, folder: Path) -> TransformersFolder:
        """Look at a folder's files; raises FileBroken, UnsupportedModel, WeightsUnsafe."""
        config = read_json(folder / CONFIG)
        check_config(config)
        if (folder / "adapter_config.json").exists():
            raise UnsupportedModel(
                "The folder holds an adapter (adapter_config.json) and not a whole network. Merge it into its base "
                "model (merge_and_unload of peft), save that with save_pretrained, and send the new folder."
            )
        for name in PROCESSORS:
            if (folder / name).exists():
                _check_code(name, read_json(folder / name))
        has_processor = any((folder / name).exists() for name in PROCESSORS)
        tensors: set[str] = set()
        for name in _find_weights(folder):
            tensors |= _read_names(folder / name)
        return cls(folder, config, tensors, has_processor, read_licence(folder))


def is_config(config: dict[str, Any]) -> bool:
    """Tell whether a config.json is of transformers, and not of timm."""
    return "architecture" not in config and ("model_type" in config or "architectures" in config)


def check_config(config: dict[str, Any]) -> None:
    """Check that a config.json names a network of transformers' own with plain weights; raises UnsupportedModel."""
    _check_code(CONFIG, config)
    if not isinstance(config.get("model_type"), str):
        raise UnsupportedModel(
            f"The {CONFIG} names no model_type of transformers. Save the model with save_pretrained and send that."
        )
    if config.get("quantization_config"):
        raise UnsupportedModel(
            "The weights are quantized (quantization_config). Send the model with its float weights: float32, float16 "
            "or bfloat16."
        )


def _check_code(name: str, content: dict[str, Any]) -> None:
    named = content.get("auto_map")
    if named or content.get("custom_pipelines"):
        names = ", ".join(map(str, named.values())) if isinstance(named, dict) else name
        raise UnsupportedModel(
            f"The {name} names code of its own ({names:.200}; auto_map), which is never run. Send a model of an "
            "architecture that transformers itself has, or export it as ONNX and send that file."
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a file of JSON that holds an object; raises FileBroken."""
    try:
        if not file.is_file():
            raise FileBroken(
                f"The folder has no {file.name}. Save the model with save_pretrained and send that folder."
            )
        if file.stat().st_size > MAX_JSON_BYTES:
            raise FileBroken(
                f"The {file.name} has more than {MAX_JSON_BYTES:,} bytes; none that describes a model has."
            )
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileBroken(f"The {file.name} is no file of JSON ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise FileBroken(f"The {file.name} holds no object of JSON. Copy it again.")
    return content


def find_shards(index: dict[str, Any]) -> list[str]:
    """List the files of weights that an index names; raises FileBroken."""
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named or not all(_is_plain(name) for name in named.values()):
        raise FileBroken(f"The {INDEX} does not say in which files the weights are. Save the model again.")
    return sorted(set(named.values()))


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and re.fullmatch(r"[\w.-]+", name) is not None


def _find_weights(folder: Path) -> list[str]:
    if (folder / WEIGHTS).exists():
        return [WEIGHTS]
    if (folder / INDEX).exists():
        shards = find_shards(read_json(folder / INDEX))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise FileBroken(f"The {INDEX} names {', '.join(missing[:3])}, which the folder lacks. Send all files.")
        return shards
    refuse_weights(sorted(file.name for file in folder.iterdir()))
    return None


def refuse_weights(names: list[str]) -> NoReturn:
    """Refuse a folder with these files for its lack of safetensors; raises WeightsUnsafe, FileBroken."""
    unsafe = [name for name in names if any(name.endswith(end) for end in UNSAFE)]
    if unsafe:
        raise WeightsUnsafe(
            f"The weights come only as {unsafe[0]}, and reading such a file may run code. Save them as safetensors: "
            "model.save_pretrained(folder, safe_serialization=True)."
        )
    raise FileBroken(f"There is no {WEIGHTS}. Save the model with save_pretrained and send that folder.")


def _read_names(file: Path) -> set[str]:
    """Read the names of the tensors in a file of weights, whose header must fit it."""
    try:
        with safe_open(file, "pt") as opened:
            return set(opened.keys())
    except (SafetensorError, OSError) as error:
        raise FileBroken(
            f"The {file.name} cannot be read ({error}): it is truncated or damaged. Copy it again."
        ) from error


def read_licence(folder: Path) -> str | None:
    """Read the licence from a repository's card, if it has one."""
    try:
        card = (folder / "README.md").read_bytes()[:MAX_JSON_BYTES].decode(errors="replace")
    except OSError:
        return None
    header = card.split("---", 2)[1] if card.startswith("---") and card.count("---") > 1 else ""
    found = LICENCE.search(header)
    return found[1] if found else None
