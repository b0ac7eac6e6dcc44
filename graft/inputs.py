"""Checks of what a command is given, before anything is sent: images, networks, and the place of the output."""

from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import InputUnusable
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREPROCESSING = re.compile(r"(\w+)=((?:(?!\w+=).)*)", re.DOTALL)
"""A fact of the preprocessing: its name, and all up to the next one."""
MOST_IMAGES, MOST_BYTES = 64, 32 << 20
"""Most images, and most bytes of several images, in one request for predictions."""
DATASET = "ds_"
"""How the ids of datasets begin."""
NUMBERS = ("mean", "std", "input_size", "crop_pct")


def parse_images(images: str | Path) -> str | UploadSource:
    """Tell whether the id of a dataset or images to upload are named; these are listed. Raises InputUnusable."""
    path = Path(images)
    if is_dataset(images):
        return str(images)
    if not path.exists():
        raise InputUnusable(
            f"There is no {path}. Name a folder with a folder of images for each class, or an archive of one."
        )
    source = _list_source(path)
    if not source.files:
        raise InputUnusable(f"{path} holds no files. It needs a folder of images for each class.")
    return source


def is_dataset(images: str | Path) -> bool:
    """Tell whether the id of a dataset is named, and no file."""
    return str(images).startswith(DATASET) and not Path(images).exists()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Find the images that a command names, all files of a folder. Raises InputUnusable."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputUnusable(f"There is no {path}. Name an image, or a folder of images.")
        files = _list_source(path).files
        if not files:
            raise InputUnusable(f"{path} holds no files.")
        found += files
    return found


def split_batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Split images into requests of a size that every deployment takes."""
    batch: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if batch and (len(batch) == MOST_IMAGES or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    if batch:
        yield batch


def check_output(output: Path, *, overwrite: bool) -> None:
    """Check that a checkpoint can be put there. Raises InputUnusable."""
    folder = output.absolute().parent
    if not folder.is_dir():
        raise InputUnusable(
            f"There is no folder {folder} for {output.name}. Make it, or name another place with --output."
        )
    if output.is_dir():
        raise InputUnusable(f"{output} is a folder. Name a file in it with --output.")
    if output.exists() and not overwrite:
        raise InputUnusable(f"{output} exists. Name another file with --output, or replace it with --overwrite.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputUnusable(
            f"No file can be written in {folder}. Change its permissions, or name another place with --output."
        )


def find_network(path: Path) -> UploadSource:
    """Find the files of a network to send. Raises InputUnusable."""
    if not path.exists():
        raise InputUnusable(f"There is no {path}. Name the file of a pretrained network, or the folder of one.")
    source = _list_source(path)
    if not source.files:
        raise InputUnusable(f"{path} holds no files.")
    return source


def _list_source(path: Path) -> UploadSource:
    try:
        return list_source(path)
    except OSError as error:
        raise InputUnusable(f"{error.filename} cannot be read: {error.strerror}.") from None


def parse_preprocessing(text: str) -> dict[str, Any] | str:
    """Parse mean=0.5,0.5,0.5,std=…; a lone number stands for all channels or both sides. Raises InputUnusable."""
    if text == "from_samples":
        return text
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise InputUnusable(f"The preprocessing is no JSON: {error}.") from None
    facts = {found[1]: found[2].strip(" ,;") for found in PREPROCESSING.finditer(text)}
    if not facts or PREPROCESSING.sub("", text).strip(" ,;"):
        raise InputUnusable(f"The preprocessing {text!r} is not as in mean=0.5,0.5,0.5,std=0.5,0.5,0.5.")
    try:
        return {name: _parse_fact(name, value) for name, value in facts.items()}
    except (ValueError, ZeroDivisionError):
        raise InputUnusable(f"The preprocessing {text!r} has a number that is none; write 0.5, or 1/255.") from None


def _parse_fact(name: str, value: str) -> Any:
    if name not in NUMBERS:
        return value
    numbers = [float(Fraction(one)) for one in re.split(r"[,x]", value)]
    if name == "crop_pct":
        return numbers[0]
    if name == "input_size":
        sides = [int(number) for number in numbers][-2:]
        return [3, sides[0], sides[-1]]
    return numbers * 3 if len(numbers) == 1 else numbers


def read_labels(path: Path) -> list[str]:
    """Read names of classes, a line each, or a JSON list. Raises InputUnusable."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    except OSError as error:
        raise InputUnusable(f"The labels {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InputUnusable(f"The labels {path} cannot be read: {error}.") from None
    while names and not names[-1]:
        names.pop()
    return list(names)
