"""Decode the names of a zip's files, whose encoding old programs do not state."""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib

from models.datasets.errors import DatasetRejected

UTF8 = 0x800
"""Bit of an entry's flags: its name is UTF-8."""
UNICODE_PATH = 0x7075
"""Extra field with the name in UTF-8 and the CRC-32 of the stored name that it belongs to (Info-ZIP)."""


def decode_name(stored: bytes, flags: int, extra: bytes) -> str:
    """Decode the stored name of an entry; raises DatasetRejected where the encoding is uncertain.

    In this order: UTF-8 if its flag is set, the extra field 0x7075, UTF-8 (macOS sets no flag), and the code pages of
    DOS where only Western European words come out.
    """
    if not flags & UTF8 and (found := _find_unicode_path(stored, extra)) is not None:
        return found
    try:
        return stored.decode()
    except UnicodeDecodeError:
        text = stored.decode("cp437")
    if flags & UTF8 or text != stored.decode("cp850", "replace") or not _is_western(text):
        raise DatasetRejected(
            "archive_name_not_utf8",
            f"The name {stored[:100]!a} has no stated encoding and is not UTF-8. Create the archive again with UTF-8 "
            "names: with 7-Zip and the parameter cu=on, or as a .tar.",
        )
    return text


def _find_unicode_path(stored: bytes, extra: bytes) -> str | None:
    field = find_extra(extra, UNICODE_PATH)
    if len(field) < 5 or field[:5] != struct.pack("<BI", 1, zlib.crc32(stored)):
        return None  # another version, or the name was changed by a program that does not know the field
    try:
        return field[5:].decode()
    except UnicodeDecodeError:
        return None


def find_extra(extra: bytes, wanted: int) -> bytes:
    """Find a field among the extra fields of an entry; empty if it is not there."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == wanted and len(extra) >= 4 + length:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _is_western(text: str) -> bool:
    """Tell whether a text reads as Western European words: names in other encodings would come out as symbols.

    Most letters of each word are ASCII, and no capital is inside: bytes of Chinese or Japanese names may all be letters
    in the code pages of DOS, but not such.
    """
    if any(ord(character) > 127 and not character.isalpha() for character in text):
        return False
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text))
    return all(_is_western_word(word) for word in words if not word.isascii())


def _is_western_word(word: str) -> bool:
    other = sum(ord(letter) > 127 for letter in word)
    is_cased = word.islower() or word.isupper() or (word[0].isupper() and word[1:].islower())
    return is_cased and len(word) > 2 * other
