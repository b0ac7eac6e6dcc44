"""Parse and check the names of files in archives and in labels.csv."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from models.datasets.errors import DatasetRejected

MAX_BYTES = 255
"""Longest component of a path, in bytes."""
JUNK = {"__macosx", "icon\r", "thumbs.db", "desktop.ini"}

IMAGE = re.compile(
    r"\.(jpe|jpe?g|jfif|a?png|webp|bmp|dib|gif|tiff?|heic|heif|avif|jxl|jp2|j2k|ico|tga|p[bgnp]m|svg|psd"
    r"|raw|dng|cr[23]|nef|arw|orf|rw2|raf)$",
    re.IGNORECASE,
)
"""Suffixes of image files, including formats that cannot be decoded here."""


def normalize(text: str) -> str:
    """Normalize Unicode to NFC, as most systems write it; macOS separates letters from their accents."""
    return unicodedata.normalize("NFC", text)


def parse_path(name: str) -> PurePosixPath:
    """Parse a name as a normalized path; Windows may separate folders by backslashes."""
    return PurePosixPath(normalize(name).replace("\\", "/"))


def is_junk(path: PurePosixPath) -> bool:
    """Tell whether a file is an operating system's own: hidden files, __MACOSX, Thumbs.db."""
    return any((part.startswith(".") and part != "..") or part.lower() in JUNK for part in path.parts)


def is_image(path: PurePosixPath) -> bool:
    """Tell whether a file has the suffix of an image."""
    return IMAGE.search(path.name) is not None


def has_controls(text: str) -> bool:
    """Tell whether a text has control characters."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def check_path(path: PurePosixPath) -> None:
    """Raise DatasetRejected for a path that could leave its folder, or that is not UTF-8."""
    name = str(path)
    if any(unicodedata.category(character) == "Cs" for character in name):
        raise DatasetRejected(
            "archive_name_not_utf8",
            f"The name {name[:100]!a} is not UTF-8. Rename the file, or create the archive with UTF-8 names.",
        )
    unsafe = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or path.parts[0][1:2] == ":"
        or has_controls(name)
        or any(len(part.encode()) > MAX_BYTES for part in path.parts)
    )
    if unsafe:
        raise DatasetRejected(
            "archive_unsafe_path",
            f"The path {name[:100]!r} is absolute, leaves its folder, is too long or has control characters. "
            "Use relative paths of plain names.",
        )
