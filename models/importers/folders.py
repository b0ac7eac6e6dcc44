"""Recognize the network in an archive, at any depth: SavedModel, timm's or transformers' folder, or one file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from models.datasets import names
from models.importers import archives, refusals
from models.importers.errors import ImportRejected
from models.importers.formats import FOLDERS, MAX_JSON_BYTES, parse_json, recognize_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

CONFIG = "config.json"
LABELS = re.compile(
    r"(?:.*[_-])?(?:labels?|class(?:es)?(?:[_-]names)?|synset(?:[_-]words)?)\.(?:txt|json)", re.IGNORECASE
)
"""Names of files with the names of classes."""
MAX_NESTING = 2
"""Archives in archives that are unpacked, as of build servers, which zip whatever they are given."""
SAMPLES = "samples"
SETTINGS = "graft.json"
SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
DATASET_SHARE = 0.5
"""Share of images in an archive above which it is a dataset, if it holds no network."""
VAGUE = ("not_a_network", "format_unknown")
"""Codes of refusals that say nothing of what a file is of."""
NO_NETWORKS = {
    "model_index.json": refusals.DIFFUSION,
    "adapter_config.json": refusals.ADAPTER,
    "flax_model.msgpack": refusals.FLAX,
    "_CHECKPOINT_METADATA": refusals.FLAX,
    "__model__": refusals.PADDLE,
    "Manifest.json": refusals.COREML,
}
"""Files that tell a folder's kind, where nothing better is in it."""


@dataclass(frozen=True)
class Upload:
    """A recognized upload."""

    format: str
    path: Path
    """The file of the network, or its folder."""
    files: Sequence[str] = ()
    """Names of the archive's files, if it was one."""
    labels: Path | None = None
    """A file with the classes' names beside it."""
    samples: Path | None = None
    """A zip, or a folder, with samples beside it."""
    settings: Path | None = None
    """A graft.json beside it."""


def recognize(path: Path, name: str, scratch: Path, heartbeat: Callable[[], None], nesting: int = 0) -> Upload:
    """Recognize an upload, and unpack it into a new folder in `scratch` if it is an archive. Raises ImportRejected."""
    format = recognize_file(path, name)
    if format != FOLDERS:
        return Upload(format, path)
    folder = Path(mkdtemp(dir=scratch))
    files = archives.unpack(path, folder, name, heartbeat)
    upload = _recognize_folder(files, name) or _recognize_one(files, name, scratch, heartbeat, nesting)
    labels = [file for file in files if LABELS.fullmatch(file.name)]
    return replace(
        upload,
        files=[str(file.relative_to(folder)) for file in files],
        labels=upload.labels or (labels[0] if len(labels) == 1 else None),
        samples=upload.samples or _find_samples(files, folder),
        settings=upload.settings or next((file for file in files if file.name == SETTINGS), None),
    )


def _find_samples(files: Sequence[Path], folder: Path) -> Path | None:
    """Find samples.zip, or the folder samples, in an unpacked archive."""
    for file in files:
        if file.name == f"{SAMPLES}.zip":
            return file
        for parent in file.relative_to(folder).parents:
            if parent.name == SAMPLES:
                return folder / parent
    return None


def _recognize_folder(files: Sequence[Path], name: str) -> Upload | None:
    """Find the outermost folder that is a SavedModel, or whose config.json names a network; None if there is none."""
    found = [Upload("saved_model", file.parent) for file in files if file.name in SAVED_MODELS]
    found += [upload for file in files if file.name == CONFIG and (upload := _recognize_config(file)) is not None]
    depth = min((len(upload.path.parts) for upload in found), default=0)
    outermost = [upload for upload in found if len(upload.path.parts) == depth]
    if len(outermost) > 1:
        raise refusals.SEVERAL.of(name, ", ".join(sorted(upload.path.name for upload in outermost)[:5]))
    return outermost[0] if outermost else None


def _recognize_config(file: Path) -> Upload | None:
    content = parse_json(file.read_bytes()) if file.stat().st_size <= MAX_JSON_BYTES else None
    if content is None or not any(_is_weights(other) for other in file.parent.iterdir()):
        return None
    if "architecture" in content:
        return Upload("timm_folder", file.parent)
    if "model_type" in content or "architectures" in content:
        return Upload("transformers_folder", file.parent)
    return None


def _is_weights(file: Path) -> bool:
    is_index = file.name.endswith(".safetensors.index.json")
    return is_index or file.suffix in (".safetensors", ".bin", ".pth", ".pt")


def _recognize_one(
    files: Sequence[Path], name: str, scratch: Path, heartbeat: Callable[[], None], nesting: int
) -> Upload:
    """Find the one file of a network in an archive."""
    images = {file for file in files if names.is_image(names.parse_path(file.name))}
    found: list[Upload] = []
    refused: list[ImportRejected] = []
    for file in sorted(set(files) - images, key=_measure, reverse=True):
        heartbeat()
        if file.name == f"{SAMPLES}.zip" or LABELS.fullmatch(file.name):
            continue
        try:
            is_archive = recognize_file(file, file.name) == FOLDERS
            if not is_archive or nesting < MAX_NESTING:
                found.append(recognize(file, file.name, scratch, heartbeat, nesting + 1))
        except ImportRejected as error:
            refused.append(error)
    if len(found) > 1:
        raise refusals.SEVERAL.of(name, ", ".join(sorted(upload.path.name for upload in found)[:5]))
    if found:
        return found[0]
    raise _explain_none(files, images, refused, name)


def _measure(file: Path) -> int:
    return file.stat().st_size


def _explain_none(
    files: Sequence[Path], images: AbstractSet[Path], refused: Sequence[ImportRejected], name: str
) -> ImportRejected:
    """Explain why no file of an archive is a network: by the kind of the folder, else of its largest file."""
    for file in files:
        if file.name in NO_NETWORKS:
            return NO_NETWORKS[file.name].of(name)
    if any(".data-0" in file.name for file in files):
        return refusals.TENSORFLOW_CHECKPOINT.of(name)
    telling = [error for error in refused if error.code not in VAGUE]
    if telling:
        return telling[0]
    if len(images) > DATASET_SHARE * len(files):
        return refusals.DATASET.of(name)
    return refusals.UNKNOWN_ARCHIVE.of(name, f"it holds {', '.join(sorted(file.name for file in files)[:5])}")
