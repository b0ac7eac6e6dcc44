"""Names of files in tables, as other machines and programs write them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets.file_index import FileIndex

PATHS = [Path(name) for name in ("img x/a0.png", "img x/a1.PNG", "img x/sub/a2.png", "other/a2.png", "Müll.png")]
ROOT = Path()


@pytest.mark.parametrize("folder", [ROOT, Path("img x"), Path("other/deep")])
@pytest.mark.parametrize("name", ["img x/a0.png", "./img x/a0.png", "img x\\a0.png", "other/../img x/a0.png"])
def test_exact_paths_are_relative_to_the_table_or_the_archive(folder: Path, name: str) -> None:
    assert FileIndex(PATHS).find(folder, name) == (Path("img x/a0.png"), True)
    assert FileIndex(PATHS).find(Path("img x"), "a0.png") == (Path("img x/a0.png"), True)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a0.png", "img x/a0.png"),
        ("A0.PNG", "img x/a0.png"),
        ("img x/a1.png", "img x/a1.PNG"),
        ("img%20x/a0.png", "img x/a0.png"),
        ("C:\\Users\\me\\img x\\a0.png", "img x/a0.png"),
        ("/kaggle/input/train/a0.png", "img x/a0.png"),
        ("data/img x/a0.png", "img x/a0.png"),
        ("img x/a0", "img x/a0.png"),
        ("a1", "img x/a1.PNG"),
        ("sub/a2.png", "img x/sub/a2.png"),
        ("mu\u0308ll.png", "Müll.png"),
    ],
)
def test_other_ways_to_write_a_name_are_matched_by_their_end(name: str, path: str) -> None:
    assert FileIndex(PATHS).find(ROOT, name) == (Path(path), False)


@pytest.mark.parametrize("name", ["a2.png", "test/a0.png", "gone.png", "a0.jpg", "", "..", "/"])
def test_what_is_uncertain_or_absent_is_not_found(name: str) -> None:
    assert FileIndex(PATHS).find(ROOT, name) is None


def test_zeros_that_excel_drops_are_found() -> None:
    files = ("train/00042.png", "train/00043.png", "test/00042.png", "test/7.png", "old/007.png")
    index = FileIndex([Path(name) for name in files])
    assert index.find(ROOT, "42", split="train") == (Path("train/00042.png"), False)
    assert index.find(ROOT, "train/42.png") == (Path("train/00042.png"), False)
    assert index.find(ROOT, "43") == (Path("train/00043.png"), False)
    assert index.find(ROOT, "7") == (Path("test/7.png"), False)
    assert [index.find(ROOT, name) for name in ("42", "43.jpg", "other/43.png", "²")] == [None] * 4


def test_masks_do_not_hide_images() -> None:
    index = FileIndex([Path(name) for name in ("images/1.png", "masks/1.png", "left/2.png", "right/2.png")])
    assert index.find(ROOT, "1") == (Path("images/1.png"), False)
    assert index.find(ROOT, "2") is None
    assert index.find_several("2") == ["left/2.png", "right/2.png"]
    assert index.find_several("masks") == []


def test_files_below_the_table_come_first() -> None:
    assert FileIndex(PATHS).find(Path("other"), "a2") == (Path("other/a2.png"), False)
    assert FileIndex(PATHS).find(Path("img x"), "a2.png") == (Path("img x/sub/a2.png"), False)


def test_the_nearest_name_is_found() -> None:
    assert FileIndex(PATHS).find_nearest("imgx/a0.jpg") == "img x/a0.png"
    assert FileIndex(PATHS).find_nearest("train/a2.png") in {"img x/sub/a2.png", "other/a2.png"}
    assert FileIndex([]).find_nearest("a.png") is None
