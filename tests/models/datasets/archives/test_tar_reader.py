"""Tars of all makers are read, damaged and malicious ones refused."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from random import Random
from typing import TYPE_CHECKING

import pytest

from models.datasets.archives import tar_reader
from tests.support.archives import LIMITS, contents, outcome, rejected, tar_entry, tar_of, zip_of

if TYPE_CHECKING:
    from pathlib import Path

LONG = f"{'class' * 40}/{'long' * 50}.png"
ENTRIES = [tar_entry("a/1.png", 700), tar_entry("a/2.png"), tar_entry("b/ü.png", 512), tar_entry(LONG, 3)]
FILES = {entry.name: b"x" * entry.size for entry in ENTRIES}
FORMATS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
END = 1024


def without_padding(tar: bytes) -> bytes:
    """The tar up to the two blocks of zeros that end it."""
    blocks = len(tar.rstrip(b"\0")) // 512 + 1
    return tar[: 512 * blocks + END]


@pytest.mark.parametrize("kind", FORMATS)
def test_long_names_are_read(kind: int) -> None:
    assert contents(io.BytesIO(tar_of(*ENTRIES, kind=kind))) == FILES


@pytest.mark.parametrize("kind", ["gnu", "oldgnu", "pax", "ustar"])
@pytest.mark.parametrize("blocks", [1, 20, 2000])
def test_what_gnu_tar_writes_is_read(tmp_path: Path, kind: str, blocks: int) -> None:
    program = shutil.which("tar")
    if program is None or b"GNU tar" not in subprocess.run([program, "--version"], capture_output=True).stdout:
        pytest.skip("there is no GNU tar")
    files = {"cats/1.png": b"one", f"{'deep' * 15}/{'long' * 20}.png": b"two" * 1000, "dogs/3.png": b""}
    for name, data in files.items():
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    command = [program, "-C", str(tmp_path / "top"), f"--format={kind}", f"--blocking-factor={blocks}", "-cf", "-", "."]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert contents(io.BytesIO(data)) == files
    assert contents(io.BytesIO(gzip.compress(data))) == files


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_is_refused(kind: int) -> None:
    whole = without_padding(tar_of(*ENTRIES, kind=kind))
    first_of_end = len(whole) - END + 512
    for kept in range(first_of_end):
        assert rejected(whole[:kept]) == "archive_unreadable", kept
    for kept in range(first_of_end, len(whole) + 1):
        assert outcome(whole[:kept]) == FILES, "what is lost are zeros"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_of_a_gzipped_tar_is_refused(kind: int) -> None:
    noise = Random(0).randbytes(2000)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=kind) as archive:
        for entry in ENTRIES:
            archive.addfile(entry, io.BytesIO(noise))
    whole = file.getvalue()
    for kept in range(len(whole)):
        assert rejected(whole[:kept]) == "archive_unreadable", kept


def test_a_changed_byte_of_any_header_is_refused_or_harms_nothing() -> None:
    entries = [tar_entry(f"a/{number}.png", 512) for number in range(3)]
    whole = without_padding(tar_of(*entries))
    for header in range(0, len(whole) - END, 1024):
        for place in range(header, header + 512):
            changed = bytearray(whole)
            changed[place] ^= 1
            assert outcome(bytes(changed)) in ("archive_unreadable", outcome(whole)), place


@pytest.mark.parametrize("kind", FORMATS)
def test_a_changed_byte_anywhere_is_at_worst_refused_by_name(kind: int) -> None:
    whole = without_padding(tar_of(*ENTRIES[1:], kind=kind))
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x80
        outcome(bytes(changed))


def test_what_goes_on_after_its_end_is_refused() -> None:
    one, other = tar_of(tar_entry("a.png")), tar_of(tar_entry("b.png"))
    assert rejected(one + other) == "archive_unreadable"
    assert rejected(gzip.compress(one) + gzip.compress(other)) == "archive_unreadable"
    assert rejected(gzip.compress(one + bytes(tar_reader.MAX_PADDING_BYTES))) == "archive_unreadable"
    overwritten = bytearray(without_padding(tar_of(*ENTRIES[:3])))
    overwritten[1536:2048] = bytes(512)
    assert rejected(bytes(overwritten)) == "archive_unreadable"


def test_an_end_alone_is_an_empty_archive() -> None:
    assert rejected(bytes(1024)) == "archive_empty"
    assert rejected(gzip.compress(bytes(10240))) == "archive_empty"


def test_gzip_in_several_members_is_read() -> None:
    whole = tar_of(*ENTRIES)
    data = b"".join(gzip.compress(whole[start : start + 333]) for start in range(0, len(whole), 333))
    assert contents(io.BytesIO(data)) == FILES


def test_a_zip_in_a_gzip_is_named() -> None:
    assert rejected(gzip.compress(zip_of(("a.png", b"x")))) == "archive_nested"


def test_a_wrong_checksum_of_gzip_is_refused() -> None:
    data = bytearray(gzip.compress(tar_of(*ENTRIES)))
    data[-8] ^= 1
    assert rejected(bytes(data)) == "archive_unreadable"


def test_links_and_devices_are_refused() -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link = tar_entry("cats/1.png")
        link.type, link.linkname = kind, "/etc/passwd"
        assert rejected(tar_of(link)) == "archive_link"
    device = tar_entry("cats/null")
    device.type = tarfile.CHRTYPE
    assert rejected(tar_of(device)) == "archive_not_a_file"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_is_not_utf8_is_refused(kind: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, encoding="latin-1") as archive:
        archive.addfile(tar_entry("M\udcfcll/1.png" if kind == tarfile.PAX_FORMAT else "Müll/1.png"))
    assert rejected(file.getvalue()) == "archive_name_not_utf8"


@pytest.mark.parametrize("size", [1 << 30, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_gigabytes_is_refused(size: int, packed: bool) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tar_entry("x", size)
        header.type = kind
        data = header.tobuf() + bytes(2048)
        assert rejected(gzip.compress(data) if packed else data) == "archive_unreadable"


def test_the_maps_of_sparse_files_are_not_followed() -> None:
    old = tar_entry("a.png")
    old.type = tarfile.GNUTYPE_SPARSE
    new = tar_entry("a.png", 512)
    new.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.png"}
    assert rejected(tar_of(old)) == rejected(tar_of(new)) == "archive_not_a_file"


def test_headers_without_end_are_refused() -> None:
    header = tar_entry("x")
    header.type = tarfile.XHDTYPE
    assert rejected(header.tobuf() * 5000) == "archive_unreadable"


def test_what_is_passed_is_forgotten() -> None:
    archive = tar_of(*(tar_entry(f"{number}.png") for number in range(50)))
    walk = tar_reader.list_members(io.BytesIO(archive), LIMITS)
    listed = [next(walk) for _ in range(50)]
    tar = listed[-1].read.args[0]  # type: ignore[attr-defined]
    assert (tar.members, tar.pax_headers) == ([], {})
