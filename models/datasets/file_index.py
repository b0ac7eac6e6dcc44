"""Find the files of an archive by the names that a table gives them, which may be written in other ways."""

from __future__ import annotations

import difflib
import posixpath
import re
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from models.datasets import names
from models.datasets.folder_names import is_auxiliary
from models.datasets.split_names import parse_split

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_COMPARED = 2000
"""Names among which the nearest is looked for."""


class FileIndex:
    """The files of an archive, by exact path, and by their last parts in any case, without suffix too."""

    def __init__(self, paths: Sequence[PurePosixPath]) -> None:
        self.paths = paths
        self._exact = {str(path) for path in paths}

    def find(self, folder: PurePosixPath, name: str, split: str = "") -> tuple[PurePosixPath, bool] | None:
        """Find the file that a table in `folder`, of a split or none, names, and whether that is its exact path.

        Exact paths are relative to the table or to the archive. Else the one file counts whose path ends as the name
        does, or the other way round (a name with folders of another machine), in any case, URL-encoded or not, without
        suffix or with it; files below the table's folder come first, and those of other splits do not count.
        """
        path = names.parse_path(name)
        for base in (str(folder), ""):
            exact = posixpath.normpath(posixpath.join(base, str(path)))
            if exact in self._exact:
                return PurePosixPath(exact), True
        found = self._find_alike(folder, path, split)
        if found is None and "%" in name:
            found = self._find_alike(folder, names.parse_path(unquote(name)), split)
        return None if found is None else (found, False)

    def find_several(self, name: str) -> list[str]:
        """Find the files of a name, in any folder, with any suffix or none, if there are several."""
        wanted = names.parse_path(name)
        found = self._by_name.get(wanted.name.casefold()) or []
        return sorted(map(str, found)) if len(found) > 1 else []

    def find_nearest(self, name: str) -> str | None:
        """Find the file whose path is the most like a name."""
        wanted = names.parse_path(name)
        same_name = self._by_name.get(wanted.name.casefold()) or self._by_name.get(wanted.stem.casefold())
        paths = [str(path) for path in same_name or self.paths[:MAX_COMPARED]]
        near = difflib.get_close_matches(str(wanted)[:255], paths, n=1, cutoff=0.0)
        return near[0] if near else None

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        """Paths by name and by stem, case folded."""
        found: dict[str, list[PurePosixPath]] = {}
        for path in self.paths:
            for key in {path.name.casefold(), path.stem.casefold()}:
                found.setdefault(key, []).append(path)
        return found

    @cached_property
    def _by_number(self) -> dict[int, list[PurePosixPath]]:
        """Paths whose stems are numbers with zeros before them."""
        found: dict[int, list[PurePosixPath]] = {}
        for path in self.paths:
            if path.stem.startswith("0") and path.stem.isdecimal():
                found.setdefault(int(path.stem), []).append(path)
        return found

    def _find_alike(self, folder: PurePosixPath, path: PurePosixPath, split: str) -> PurePosixPath | None:
        wanted = _fold(path)
        if not wanted:
            return None
        has_suffix = names.is_image(path)
        alike = [
            other
            for other in self._by_name.get(wanted[-1], [])
            if _is_end(wanted, _fold(other if has_suffix else other.with_suffix("")))
        ]
        if not alike and path.stem.isdecimal():  # Excel drops the zeros of 00042
            alike = [other for other in self._by_number.get(int(path.stem), []) if _is_same_number(path, other)]
        if not alike and _is_absolute(path):  # its folders are those of another machine
            alike = self._by_name.get(wanted[-1], [])
        alike = [other for other in alike if not split or find_folder_split(other) in ("", split)]
        below = [other for other in alike if other.is_relative_to(folder)]
        alike = below or alike
        if len(alike) > 1:  # images/1.png and masks/1.png
            alike = [other for other in alike if not any(map(is_auxiliary, other.parts[:-1]))]
        return alike[0] if len(alike) == 1 else None


def find_folder_split(path: PurePosixPath) -> str:
    """Find the split in whose folder a file is, by the folder's name; "" if in none."""
    return next((split for part in path.parts[:-1] if (split := parse_split(part))), "")


def _fold(path: PurePosixPath) -> tuple[str, ...]:
    return tuple(part.casefold() for part in path.parts if part not in ("/", ".."))


def _is_end(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Tell whether one path is the end of the other."""
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


def _is_same_number(path: PurePosixPath, other: PurePosixPath) -> bool:
    """Tell whether two paths whose stems are the same number have one suffix, or the first none, and like folders."""
    is_alike = not path.suffix or path.suffix.casefold() == other.suffix.casefold()
    return is_alike and _is_end((*_fold(path.parent), ""), (*_fold(other.parent), ""))


def _is_absolute(path: PurePosixPath) -> bool:
    return path.is_absolute() or re.match(r"[a-z]:", str(path), re.IGNORECASE) is not None
