"""Names as systems write them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets import names
from models.datasets.errors import DatasetRejected


def test_junk_is_known() -> None:
    for name in ("__MACOSX/cat/1.png", ".hidden/1.png", "cat/.DS_Store", "cat/Thumbs.db", "cat/Icon\r"):
        assert names.is_junk(Path(name))
    assert not names.is_junk(Path("cat/1.png"))
    assert not names.is_junk(Path("../cat/1.png"))


def test_paths_are_those_of_any_system() -> None:
    assert names.parse_path("./M\u0075\u0308ll\\old\\1.png") == Path("M\u00fcll/old/1.png")


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "C:/a", "a\x07", "a\x7f", "n" * 256, "é" * 128, "."])
def test_unsafe_paths_are_refused(name: str) -> None:
    with pytest.raises(DatasetRejected) as caught:
        names.check_path(Path(name))
    assert caught.value.code == "archive_unsafe_path"


def test_ordinary_paths_are_safe() -> None:
    for name in ("cat/1.png", "Müll/über.png", "a b/c..d.png", "n" * 255):
        names.check_path(Path(name))


def test_a_name_that_is_not_utf8_is_refused_in_writable_words() -> None:
    with pytest.raises(DatasetRejected, match="Rename the file") as caught:
        names.check_path(Path(b"M\xfcll/1.png".decode("utf-8", "surrogateescape")))
    assert caught.value.code == "archive_name_not_utf8"
    str(caught.value).encode()


def test_suffixes_of_images_are_known() -> None:
    assert all(names.is_image(Path(name)) for name in ("a.JPG", "a.jpeg", "a.png", "a.heic", "a.tif", "b.CR2"))
    assert not any(names.is_image(Path(name)) for name in ("a.py", "README", "png", "a.jpg.txt"))
