"""Names of files, as archives and tables of labels write them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from models.datasets.errors import DatasetRejected

MOST_BYTES = 255
"""Of one part of a path."""
JUNK = {"__macosx", "icon\r", "thumbs.db", "desktop.ini"}

IMAGE = re.compile(
    r"\.(jpe|jpe?g|jfif|a?png|webp|bmp|dib|gif|tiff?|heic|heif|avif|jxl|jp2|j2k|ico|tga|p[bgnp]m|svg|psd"
    r"|raw|dng|cr[23]|nef|arw|orf|rw2|raf)$",
    re.IGNORECASE,
)
"""Suffixes of images, of those too that cannot be opened here."""


def normalized(text: str) -> str:
    """Composed as most systems write it (NFC); macOS takes letters and their accents apart."""
    return unicodedata.normalize("NFC", text)


def path_of(name: str) -> PurePosixPath:
    """The normalized path that a name stands for; Windows may part folders by a backslash."""
    return PurePosixPath(normalized(name).replace("\\", "/"))


def is_junk(path: PurePosixPath) -> bool:
    """Files that systems leave about: hidden ones, __MACOSX, Thumbs.db."""
    return any((part.startswith(".") and part != "..") or part.lower() in JUNK for part in path.parts)


def is_image(path: PurePosixPath) -> bool:
    """Whether its suffix promises an image."""
    return IMAGE.search(path.name) is not None


def has_controls(text: str) -> bool:
    """Whether a control character is in it."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def check(path: PurePosixPath) -> None:
    """Raises DatasetRejected for one that could leave its folder, or that cannot be written down."""
    name = str(path)
    if any(unicodedata.category(character) == "Cs" for character in name):
        raise DatasetRejected(
            "archive_name_not_utf8",
            f"The name {name[:100]!a} is not UTF-8. Rename the file, or make the archive where names are UTF-8.",
        )
    unsafe = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or path.parts[0][1:2] == ":"
        or has_controls(name)
        or any(len(part.encode()) > MOST_BYTES for part in path.parts)
    )
    if unsafe:
        raise DatasetRejected(
            "archive_unsafe_path",
            f"{name[:100]!r} is absolute, leaves its folder, or has forbidden characters. Use plain relative names.",
        )
