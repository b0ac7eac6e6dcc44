"""Read a zip archive's members in constant memory: `zipfile` would keep a gigabyte for a million of them."""

from __future__ import annotations

import bz2
import lzma
import struct
import zipfile
import zlib
from array import array
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, NoReturn

from models.datasets.archives import ArchiveMember, check_ratio
from models.datasets.archives.zip_names import decode_name, find_extra
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.datasets.archives import Limits

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a zip with files, and of an empty one."""
LINK_BITS, LINK = 0xF000, 0xA000
ENCRYPTED = 0x1
"""Bit of an entry's flags."""
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
OTHER_METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64, as Windows does above 2 GB", 93: "Zstandard", 95: "XZ", 97: "WavPack",
    98: "PPMd", 99: "AES encryption",
}  # fmt: skip
DIRECTORY_ENTRY = struct.Struct("<4s4B4H3I5H2I")
LOCAL_HEADER = struct.Struct("<4s2B4H3I2H")
END = struct.Struct("<4s4H2IH")
END64_LOCATOR = struct.Struct("<4sIQI")
END64 = struct.Struct("<4sQ2H2I4Q")
MAX_COMMENT = MAX_COUNT = 1 << 16
"""Bytes of a comment; entries that a record without zip64 can count, beyond which some programs begin at 0 again."""
ZIP64 = 1
"""Extra field with sizes and offset of 8 bytes each, for those that do not fit 4."""
IN_ZIP64 = 0xFFFFFFFF
BLOCK = 1 << 20
MAX_LZMA_DICTIONARY = 64 << 20


@dataclass(frozen=True, slots=True)
class _Directory:
    """The list of entries at the end of a zip."""

    start: int
    bytes: int
    entries: int
    shift: int
    """Bytes before the archive's own first byte, to which offsets are relative."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    header: int
    """Length of the header that precedes the data, without its extra fields."""
    attributes: int


def list_members(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    """List the files of a zip, after a check of the number of entries and of the sizes that it claims in all."""
    length = file.seek(0, 2)
    directory = _find_directory(file, length)
    limits.check_entries(directory.entries, length)
    _check_sizes(file, directory, limits, length)
    for entry in _read_directory(file, directory):
        if not entry.name.endswith(("/", "\\")):
            yield ArchiveMember(entry.name, entry.size, partial(_read, file, entry), _find_problem(entry))


def _find_directory(file: IO[bytes], length: int) -> _Directory:
    tail_bytes = min(length, END.size + MAX_COMMENT)
    file.seek(length - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + END.size:
        raise zipfile.BadZipFile("its list of files is missing")
    *_, entries, size, offset, comment = END.unpack_from(tail, at)
    if any(tail[at + END.size + comment :]):
        raise zipfile.BadZipFile("data follow its end")
    end = length - tail_bytes + at
    locator = tail[at - END64_LOCATOR.size : at] if at >= END64_LOCATOR.size else b""
    if locator.startswith(b"PK\6\7"):
        file.seek(END64_LOCATOR.unpack(locator)[2])
        end64 = file.read(END64.size)
        if len(end64) < END64.size or not end64.startswith(b"PK\6\6"):
            raise zipfile.BadZipFile("its list of files is damaged")
        entries, size, offset = END64.unpack(end64)[-3:]
        end -= END64_LOCATOR.size + END64.size
    shift = end - size - offset
    if shift < 0:
        raise zipfile.BadZipFile("its list of files is damaged")
    return _Directory(offset + shift, size, entries, shift)


def _read_directory(file: IO[bytes], directory: _Directory) -> Iterator[_Entry]:
    """Iterate over the entries; the file may be read elsewhere in between."""
    position, buffer = directory.start, b""
    remaining = directory.bytes
    while remaining > 0 or buffer:
        wanted = _measure_entry(buffer)
        if len(buffer) < wanted:
            if remaining <= 0:
                raise zipfile.BadZipFile("its list of files is cut off")
            file.seek(position)
            block = file.read(min(remaining, max(BLOCK, wanted)))
            if not block:
                raise EOFError("its list of files is cut off")
            position, remaining, buffer = position + len(block), remaining - len(block), buffer + block
            continue
        yield from _read_buffered(buffer, directory.shift)
        buffer = buffer[_measure_entries(buffer) :]


def _measure_entry(buffer: bytes, at: int = 0) -> int:
    """Number of bytes of the entry at `at`, as far as it can be told."""
    if len(buffer) - at < DIRECTORY_ENTRY.size:
        return DIRECTORY_ENTRY.size
    name, extra, comment = struct.unpack_from("<3H", buffer, at + 28)
    return DIRECTORY_ENTRY.size + int(name) + int(extra) + int(comment)


def _measure_entries(buffer: bytes) -> int:
    """Number of bytes of the whole entries in a buffer."""
    at = 0
    while len(buffer) - at >= (size := _measure_entry(buffer, at)):
        at += size
    return at


def _read_buffered(buffer: bytes, shift: int) -> Iterator[_Entry]:
    at = 0
    while len(buffer) - at >= (size := _measure_entry(buffer, at)):
        yield _parse_entry(buffer[at : at + size], shift)
        at += size


def _parse_entry(record: bytes, shift: int) -> _Entry:
    (magic, *_, flags, method, _time, _date, crc, packed, size, name_bytes, extra_bytes, _comment, _disk, _internal,
     attributes, offset) = DIRECTORY_ENTRY.unpack_from(record)  # fmt: skip
    if magic != b"PK\1\2":
        raise zipfile.BadZipFile("its list of files is damaged")
    stored = record[DIRECTORY_ENTRY.size : DIRECTORY_ENTRY.size + name_bytes]
    extra = record[DIRECTORY_ENTRY.size + name_bytes :][:extra_bytes]
    size, packed, offset = _resolve_zip64([size, packed, offset], find_extra(extra, ZIP64))
    name = decode_name(stored.split(b"\0")[0], flags, extra)
    header = LOCAL_HEADER.size + name_bytes
    return _Entry(name, flags, method, crc, packed, size, offset + shift, header, attributes)


def _resolve_zip64(values: list[int], field: bytes) -> list[int]:
    resolved, at = [], 0
    for value in values:
        if value == IN_ZIP64:
            if len(field) < at + 8:
                raise zipfile.BadZipFile("sizes of its files are missing")
            value = int.from_bytes(field[at : at + 8], "little")
            at += 8
        resolved.append(value)
    return resolved


def _check_sizes(file: IO[bytes], directory: _Directory, limits: Limits, length: int) -> None:
    """Check what the directory claims, and that no files share packed bytes: so 10 MB would unpack to terabytes."""
    begins, ends = array("Q"), array("Q")
    total = packed = 0
    for entry in _read_directory(file, directory):
        begins.append(entry.offset)
        ends.append(entry.offset + entry.header + entry.packed)
        total, packed = total + entry.size, packed + entry.packed
        limits.check(total, len(begins))
        limits.check_entries(len(begins), length)
    if (len(begins) - directory.entries) % MAX_COUNT:
        raise zipfile.BadZipFile("its list of files does not have as many as it says")
    check_ratio(total, packed)
    order = range(len(begins)) if _is_sorted(begins) else sorted(range(len(begins)), key=begins.__getitem__)
    end = 0
    for index in order:
        if begins[index] < end:
            raise DatasetRejected(
                "archive_overlapping", "Files of the archive overlap. Create it again with a common zip program."
            )
        end = ends[index]


def _is_sorted(values: array[int]) -> bool:
    return all(values[index] <= values[index + 1] for index in range(len(values) - 1))


def _find_problem(entry: _Entry) -> tuple[str, str] | None:
    if (entry.attributes >> 16) & LINK_BITS == LINK:
        return "archive_link", "It is a link. Put the file itself into the archive."
    if entry.flags & ENCRYPTED:
        return "archive_encrypted", "It is encrypted. Create the archive without a password."
    if entry.method not in (STORED, DEFLATED, BZIP2, LZMA):
        method = OTHER_METHODS.get(entry.method, f"method {entry.method}")
        return (
            "archive_method",
            f"It is compressed by {method}, which cannot be read here. Create the archive again by the method Deflate "
            "(the usual one of 7-Zip, zip and macOS), or as a .tar.",
        )
    return None


def _read(file: IO[bytes], entry: _Entry) -> bytes:
    file.seek(entry.offset)
    header = file.read(LOCAL_HEADER.size)
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile(f"{entry.name} is not where the list of files says")
    name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)[-2:]
    file.seek(name_bytes + extra_bytes, 1)
    packed = file.read(entry.packed)
    if len(packed) < entry.packed:
        raise EOFError(f"{entry.name} is cut off")
    data = _decompress(packed, entry)
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise zipfile.BadZipFile(f"{entry.name} does not fit its checksum")
    return data


def _decompress(packed: bytes, entry: _Entry) -> bytes:
    """Decompress data to one byte more than is claimed at most."""
    most = entry.size + 1
    if entry.method == DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    if entry.method == BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, most)
    if entry.method == LZMA:
        return _decompress_lzma(packed, most)
    return packed


def _decompress_lzma(packed: bytes, most: int) -> bytes:
    """Decompress LZMA as in a zip: version (2 bytes), length of the properties (2), properties (5), raw stream."""
    if len(packed) < 9 or packed[2:4] != b"\5\0":
        _reject_properties()
    packing, dictionary = packed[4], int.from_bytes(packed[5:9], "little")
    if packing >= 9 * 5 * 5 or dictionary > MAX_LZMA_DICTIONARY:
        _reject_properties()
    properties = {"lc": packing % 9, "lp": packing // 9 % 5, "pb": packing // 45}
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), **properties}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(packed[9:], most)


def _reject_properties() -> NoReturn:
    raise lzma.LZMAError("unusual properties of LZMA")
