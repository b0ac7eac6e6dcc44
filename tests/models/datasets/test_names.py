"""Names as systems write them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets import names


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/cat/1.png", ".hidden/1.png", "cat/.DS_Store", "cat/._1.png", "cat/Thumbs.db", "cat/Icon\r",
        "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "@eaDir/1.png@SynoEAStream", "#recycle/1.png", "@Recycle/1.png",
        "$RECYCLE.BIN/1.png", "System Volume Information/x", "lost+found/1.png", ".Trashes/501/1.png",
        ".Trash-1000/files/1.png", ".ipynb_checkpoints/1-checkpoint.png", "cat/desktop.ini", "~$labels.xlsx",
        ".AppleDouble/1.png", "cat/.nfs0001", "__pycache__/a.pyc",
    ],
)  # fmt: skip
def test_files_of_systems_are_known(name: str) -> None:
    assert names.is_system_file(Path(name))


def test_other_files_are_not_those_of_a_system() -> None:
    for name in ("cat/1.png", "../cat/1.png", "recycle/1.png", "thumbs/1.png", "trash/1.png", "a~$b.png"):
        assert not names.is_system_file(Path(name))


def test_paths_are_those_of_any_system() -> None:
    assert names.parse_path("./M\u0075\u0308ll\\old\\1.png") == Path("M\u00fcll/old/1.png")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../a", "leaves its folder"),
        ("a/../b", "leaves its folder"),
        ("/a", "absolute"),
        ("C:/a", "absolute"),
        (".", "empty"),
        ("a\x07", "control characters"),
        ("a\x7f", "control characters"),
        ("a\nb.png", "line break"),
        ("n" * 256, "255 bytes"),
        ("\u56fe" * 86, "255 bytes"),
        ("/".join(["n" * 250] * 17), "4096 bytes"),
    ],
)
def test_paths_that_cannot_be_used_are_explained(name: str, says: str) -> None:
    assert says in (names.find_problem(Path(name)) or "")


def test_ordinary_paths_are_used() -> None:
    for name in (
        "cat/1.png",
        "M\u00fcll/\u00fcber.png",
        "a b/c..d.png",
        "n" * 255,
        "a/&amp;<b>.png",
        "a/\U0001f431.png",
    ):
        assert names.find_problem(Path(name)) is None


def test_invisible_characters_around_a_text_are_trimmed() -> None:
    for text in ("cat\u200b", "\ufeffcat", "\u00a0cat\t", " \u200e cat \u2060\u00ad"):
        assert names.trim(text) == "cat"
    assert names.trim("👩\u200d🔬") == "👩\u200d🔬"
    assert names.find_alike(["a\u200bb", "ab", "c"]) == ["ab", "a\u200bb"]


def test_names_that_are_written_alike_are_found() -> None:
    alike = ["Cat", "cat", "do  g", "do g ", "1", "1.0", "Straße", "STRASSE"]
    assert names.find_alike([*alike, "owl", "1.5", "2"]) == sorted(alike)


def test_bytes_that_are_not_utf8_are_known() -> None:
    assert not names.is_utf8(b"M\xfcll/1.png".decode("utf-8", "surrogateescape"))
    assert names.is_utf8("M\u00fcll/1.png")


def test_names_are_shown_in_writable_characters_and_bytes() -> None:
    shown = names.show("a\nb\x00\udcfc\u00fc")
    assert shown == "a\\nb\\x00\\udcfc\u00fc"
    assert len(names.show("\u56fe" * 10_000).encode()) <= names.MAX_PATH_BYTES + 3
    assert names.show("n" * 10, 10) == "n" * 10
    assert names.show("n" * 11, 10) == "n" * 10 + "\u2026"


def test_suffixes_of_images_are_known() -> None:
    assert all(names.is_image(Path(name)) for name in ("a.JPG", "a.jpeg", "a.png", "a.heic", "a.tif", "b.CR2"))
    assert not any(names.is_image(Path(name)) for name in ("a.py", "README", "png", "a.jpg.txt"))
