"""Rows of tables, as spreadsheets and scripts write them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets.errors import DatasetRejected
from models.datasets.table_text import read_rows

ROWS = [(1, ["file", "label"]), (2, ["ä b.png", "cat, red"]), (3, ["c.png", "dog"])]
TEXT = 'file,label\nä b.png,"cat, red"\nc.png,dog\n'


def rows(content: bytes, name: str = "labels.csv") -> list[tuple[int, list[str]]]:
    """Read all rows of a table."""
    return list(read_rows(Path(name), content))


def refused(content: bytes, name: str = "labels.csv") -> str:
    """Why a table is refused."""
    with pytest.raises(DatasetRejected) as caught:
        rows(content, name)
    assert caught.value.code == "labels_unreadable"
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    assert rows(TEXT.replace("\n", end).encode(encoding)) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", ", ";  "])
def test_separators(delimiter: str) -> None:
    text = f'"file"{delimiter}"label"\n"ä b.png"{delimiter}"cat, red"\n"c.png"{delimiter}"dog"\n'
    assert rows(text.encode()) == ROWS


def test_the_separator_that_excel_states() -> None:
    assert rows(b"sep=;\r\nfile;label\r\na,b.png;cat\r\n") == [(2, ["file", "label"]), (3, ["a,b.png", "cat"])]
    assert rows("sep=|\nfile|label\n".encode("utf-16")) == [(2, ["file", "label"])]


def test_rows_without_content_are_passed() -> None:
    assert rows(b"\n\nfile,label\n,\n\na.png,cat\n , \n") == [(3, ["file", "label"]), (6, ["a.png", "cat"])]


def test_names_are_composed() -> None:
    assert rows("A\u0308.png,cat\n".encode()) == [(1, ["\u00c4.png", "cat"])]


def test_an_excel_file_is_named() -> None:
    assert "labels.csv is an Excel file" in refused(b"PK\3\4\x14\0")
    assert "Save it in Excel as CSV UTF-8" in refused(b"\xd0\xcf\x11\xe0\xa1\xb1")


def test_lines_of_json_may_lack_values_that_others_have() -> None:
    content = b'{"file_name": "1.png"}\n{"file_name": "2.png", "label": "cat", "split": "test", "objects": {}}\n'
    header, *found = [cells for _, cells in rows(content, "metadata.jsonl")]
    assert (header, found) == (["file_name", "label", "split"], [["1.png", "", ""], ["2.png", "cat", "test"]])
    many = "\n".join(f'{{"a{number}": 1}}' for number in range(20_001))
    assert "more than 20000 different names" in refused(many.encode(), "metadata.jsonl")


def test_lines_of_json() -> None:
    text = '{"file_name": "a.png", "label": 3, "box": {"x": 1}}\n\n{"label": ["b", "a"], "file_name": "A\u0308.png"}\n'
    text += '{"file_name": "c.png", "label": null}\n{"file_name": "d.png", "label": 2.0}\n'
    assert rows(text.encode(), "metadata.jsonl") == [
        (1, ["file_name", "label"]),
        (1, ["a.png", "3"]),
        (3, ["\u00c4.png", "b|a"]),
        (4, ["c.png", ""]),
        (5, ["d.png", "2"]),
    ]


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"file,label\na.png,cat\n\xc4.png,dog\n", "labels.csv", "line 3. Save it as UTF-8"),
        (b'file,label\na.png,"cat\nb.png,dog\n', "labels.csv", "Line 2"),
        (b'file,label\na.png,"c"at"\n', "labels.csv", "Line 2"),
        (b"file,label\na.png," + b"c" * 200_000, "labels.csv", "Line 2 of labels.csv cannot be read (field larger"),
        (b'{"a": 1}\nfile,label\n', "metadata.jsonl", "Line 2 of metadata.jsonl is no JSON"),
        (b"[1]\n", "metadata.jsonl", "Line 1 of metadata.jsonl is no JSON object"),
        (b"[" * 100_000, "metadata.jsonl", "Line 1 of metadata.jsonl is no JSON"),
        ("file,label\n".encode("utf-16")[:-1], "labels.csv", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused_by_line(content: bytes, name: str, says: str) -> None:
    assert says in refused(content, name)
