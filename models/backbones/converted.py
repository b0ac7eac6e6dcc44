"""Networks of transformers on the Hub, converted: made once on a machine, and kept beside the Hub's files by commit.

What is kept is the folder of an imported backbone: config.json, graph.json and model.safetensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from models.backbones import local
from models.backbones.errors import (
    BackboneTooLarge,
    BackboneUnsupported,
    ConfigurationBroken,
    DiskTooSmall,
    FileMissing,
    WeightsUnsafe,
)
from models.backbones.hub import SPARE_BYTES, Repository
from models.backbones.structure import CONFIG, GRAPH, ORIGINAL
from models.conversion import errors, transformers_files, transformers_reader
from models.networks import graph_file
from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from models.conversion.converted import ConvertedNetwork

log = logging.getLogger(__name__)

LIBRARY, VERSION = "graft", "1"
"""Name of the folder of conversions; the version of what is in it, to be increased when conversions change."""
DIGEST = "digest"
"""Key of config.json: SHA-256 of the other files."""
MAX_BYTES = 40 << 30
"""Most bytes of all conversions: beyond it, those that were used least recently are deleted."""
IN_USE_SECONDS = 600.0
"""A conversion that was used within this time is not deleted."""
OPTIONAL = (*transformers_files.PROCESSORS, "README.md")
"""Files of a repository of transformers that it may lack: how images are prepared, and its card with the licence."""


def prepare(repository: Repository, side: int | None) -> Path:
    """Convert a network of transformers, at its commit, unless this machine has done it; returns the folder.

    One process at a time does it, others wait. Raises BackboneError.
    """
    size = "own" if side is None else str(side)
    kept = cached_assets_path(LIBRARY, namespace=repository.id, subfolder=f"{repository.revision}-{size}-{VERSION}")
    lock = kept.with_name(f"{kept.name}.lock")
    with WeakFileLock(lock):
        if _is_whole(kept):
            kept.touch()  # so that it is not the least recently used
            return kept
        try:
            _convert(repository, side, kept)
        except errors.ConversionError as error:
            raise _translate(repository.name, error) from error
    _delete_oldest(kept.parent.parent)
    return kept


def _convert(repository: Repository, side: int | None, kept: Path) -> None:
    folder = _download(repository)
    converted = transformers_reader.read(folder, side)
    config = describe(repository.name, converted)
    size = sum(tensor.nbytes for tensor in converted.network.state_dict().values())
    free = shutil.disk_usage(kept.parent).free
    if size + SPARE_BYTES > free:
        raise DiskTooSmall(
            f"{repository.name}, converted, needs {size / 1e9:.2f} GB on the disk of {kept.parent}, which has "
            f"{free / 1e9:.2f} GB free. Make room there, or let HF_HOME name a folder on another disk."
        )
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f"{kept.name}.") as temporary:
        written = Path(temporary, "written")
        written.mkdir()
        (written / graph_file.GRAPH).write_text(json.dumps(graph_file.describe(converted.network)))
        checkpoint_file.write(written / local.WEIGHTS, converted.network.state_dict(), {})
        (written / CONFIG).write_text(json.dumps({**config, DIGEST: _compute_digest(written)}))
        shutil.rmtree(kept, ignore_errors=True)
        written.rename(kept)


def _is_whole(kept: Path) -> bool:
    """Tell whether a conversion is there, and its files are as they were written."""
    try:
        digest: str = json.loads((kept / CONFIG).read_text())[DIGEST]
        return digest == _compute_digest(kept)
    except (OSError, ValueError, KeyError):
        return False


def _compute_digest(folder: Path) -> str:
    """Compute the SHA-256, in hex, of the files that hold the network."""
    digest = hashlib.sha256()
    for name in (graph_file.GRAPH, local.WEIGHTS):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _download(repository: Repository) -> Path:
    """Download everything that the conversion reads, and nothing else; returns its folder."""
    present = [name for name in OPTIONAL if repository.has(name)]
    is_sharded = repository.has(transformers_files.INDEX) and not repository.has(transformers_files.WEIGHTS)
    try:
        weights = transformers_files.INDEX if is_sharded else transformers_files.WEIGHTS
        folder = repository.download(CONFIG, weights, *present)
    except FileMissing as error:
        raise WeightsUnsafe(
            f"{repository.name} has no {transformers_files.WEIGHTS}; weights in other formats may run code and are not "
            "read. Convert them to safetensors (save_pretrained), or choose another backbone or revision: many "
            "repositories have one in refs/pr/1."
        ) from error
    if not is_sharded:
        return folder
    shards = transformers_files.find_shards(transformers_files.read_json(folder / transformers_files.INDEX))
    return repository.download(CONFIG, *shards)


def describe(name: str, converted: ConvertedNetwork) -> dict[str, Any]:
    """Describe a converted network as timm's config.json does; raises ConfigurationBroken."""
    facts = converted.preprocessing
    assert isinstance(converted.original, transformers_reader.TransformersRuntime)
    if facts.mean is None or facts.std is None or facts.crop_mode is None:
        why = " ".join(converted.notes)
        raise ConfigurationBroken(
            f"{name} does not say how images are prepared. {why} Download its files, and send them to POST "
            "/v1/backbones as an archive, with the preprocessing that you know."
        )
    return {
        "architecture": GRAPH,
        "num_classes": converted.network.num_classes,
        "pretrained_cfg": {
            "input_size": list(converted.input_size),
            "mean": list(facts.mean),
            "std": list(facts.std),
            "interpolation": facts.interpolation or "bilinear",
            "crop_pct": facts.crop_pct,
            "crop_mode": facts.crop_mode,
            **({"license": converted.licence} if converted.licence else {}),
            **({"label_names": converted.labels} if converted.labels else {}),
        },
        ORIGINAL: converted.original.architecture,
        "notes": converted.notes,
    }


def _translate(name: str, error: errors.ConversionError) -> Exception:
    message = f"{name}: {error}"
    if isinstance(error, errors.ModelTooLarge):
        return BackboneTooLarge(message)
    if isinstance(error, errors.WeightsUnsafe):
        return WeightsUnsafe(message)
    if isinstance(error, errors.SizeUnsupported):
        return BackboneUnsupported(f"{message} Or leave image_size out of the recipe.", error.code)
    return BackboneUnsupported(message, error.code)


def _delete_oldest(folder: Path) -> None:
    """Delete the conversions that were used least recently, until the others take no more than MAX_BYTES."""
    kept = [path.parent for path in folder.glob(f"*/*/{CONFIG}")]
    ages = sorted(((path.stat().st_mtime, path) for path in kept), reverse=True)
    total = 0
    for used, path in ages:
        total += sum(file.stat().st_size for file in path.iterdir())
        if total > MAX_BYTES and time.time() - used > IN_USE_SECONDS:
            log.info("Deleted the conversion in %s: all take more than %d bytes", path, MAX_BYTES)
            shutil.rmtree(path, ignore_errors=True)
