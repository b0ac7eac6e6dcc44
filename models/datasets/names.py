"""Parse and check the names of files in archives and in tables of labels."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 255
"""Longest component of a path, and longest name of a class, in UTF-8."""
MAX_PATH_BYTES = 4096
INVISIBLE = "\u00ad\u200b\u200e\u200f\u2060\ufeff"
"""Soft hyphen, spaces without width, and marks of direction."""
SYSTEM_NAMES = {
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "lost+found.",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp",
    "resource.frk", "__pycache__", "network trash folder", "temporary items", "theVolumeSettingsFolder".lower(),
}  # fmt: skip
"""Files and folders that systems make: macOS, Windows, Linux and network storage (Synology, QNAP), in lower case."""
SYSTEM_PREFIXES = (".", "~$")
"""Hidden files, among them ._FILE of macOS; lock files of Office."""
SYSTEM_SUFFIXES = ("@synoeastream", "@synoresource")

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


def is_system_file(path: PurePosixPath) -> bool:
    """Tell whether a system made a file for itself: hidden files, __MACOSX, Thumbs.db, recycle bins, thumbnails."""
    return any(_is_system_name(part) for part in path.parts)


def _is_system_name(part: str) -> bool:
    name = part.lower()
    is_hidden = name.startswith(SYSTEM_PREFIXES) and name != ".."
    return is_hidden or name in SYSTEM_NAMES or name.endswith(SYSTEM_SUFFIXES)


def is_image(path: PurePosixPath) -> bool:
    """Tell whether a file has the suffix of an image."""
    return IMAGE.search(path.name) is not None


def has_controls(text: str) -> bool:
    """Tell whether a text has control characters."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def is_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; bytes that were not UTF-8 stand in it as surrogates."""
    return not any(unicodedata.category(character) == "Cs" for character in text)


def find_problem(path: PurePosixPath) -> str | None:
    """Find what keeps a path from being used: it leaves its folder, is too long or has control characters."""
    name = str(path)
    if not path.parts or path.is_absolute() or path.parts[0][1:2] == ":":
        return "The path is absolute, or empty. Use paths relative to the archive."
    if ".." in path.parts:
        return "The path leaves its folder by '..'. Use paths inside the archive."
    if has_controls(name):
        return "The name has control characters, such as a line break. Rename the file."
    if any(len(part.encode()) > MAX_BYTES for part in path.parts):
        return f"A name in the path is longer than {MAX_BYTES} bytes. Shorten it."
    if len(name.encode()) > MAX_PATH_BYTES:
        return f"The path is longer than {MAX_PATH_BYTES} bytes. Shorten it."
    return None


def trim(text: str) -> str:
    """Normalize a text, without spaces and invisible characters around it, as are copied from web pages."""
    return normalize(text).strip(f"{string.whitespace}\u00a0{INVISIBLE}").strip()


def simplify(name: str) -> str:
    """Reduce a name to its letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", name.lower())


def find_alike(classes: Iterable[str]) -> list[str]:
    """Find names that differ in case, spaces or decimals alone: Cat and cat, 1 and 1.0."""
    plain = {name: re.sub(f"[{INVISIBLE}]", "", name).casefold() for name in classes}
    keys = {name: re.sub(r"^(-?\d+)\.0*$", r"\1", " ".join(text.split())) for name, text in plain.items()}
    counts = Counter(keys.values())
    return sorted(name for name, key in keys.items() if counts[key] > 1)


def show(name: str, most: int = MAX_PATH_BYTES) -> str:
    """Format a name for a report: control characters and what is no UTF-8 as escapes, at most about `most` bytes."""
    shown = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in name[: most + 1]
    )
    cut = shown.encode()[:most].decode(errors="ignore")
    return cut if cut == shown else f"{cut}…"
