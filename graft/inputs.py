"""Checks of what a command is given, before anything is sent: recipe, images, and the place of the output."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from graft import tar_stream
from graft.errors import InputUnusable

if TYPE_CHECKING:
    from pathlib import Path


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe's file; raises InputUnusable where it holds no JSON object that can be sent."""
    try:
        recipe = json.loads(path.read_bytes(), object_pairs_hook=_build_object)
        json.dumps(recipe, allow_nan=False, ensure_ascii=False).encode()
    except OSError as error:
        raise InputUnusable(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        ends = error.doc[: error.pos].rstrip().endswith(",") and error.doc[error.pos :].lstrip().startswith(("}", "]"))
        mistake = "a comma with nothing after it" if ends else error.msg
        raise InputUnusable(
            f"The recipe {path} is no JSON: line {error.lineno}, column {error.colno}: {mistake}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputUnusable(f"The recipe {path} cannot be sent: {error}.") from None
    if not isinstance(recipe, dict):
        raise InputUnusable(f"The recipe {path} must be a JSON object, in braces {{ }}.")
    return recipe


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        raise ValueError(f"a field stands twice in {', '.join(name for name, _ in pairs)}")
    return built


def check_images(images: Path) -> None:
    """Check that there are files to send. Raises InputUnusable."""
    if not images.exists():
        raise InputUnusable(
            f"There is no {images}. Name a folder with a folder of images for each class, or an archive of one."
        )
    try:
        is_empty = images.is_dir() and not tar_stream.list_files(images)
    except OSError as error:
        raise InputUnusable(f"{error.filename} cannot be read: {error.strerror}.") from None
    if is_empty:
        raise InputUnusable(f"{images} holds no files. It needs a folder of images for each class.")


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
