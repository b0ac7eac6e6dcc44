"""Names of classes are read from the usual files, and have to be as many as the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.importers.errors import ImportRejected
from models.importers.labels import choose_labels, read_labels
from models.importers.report import ImportReport

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "labels.txt": "cat\ndog\n",
    "with_bom.txt": "\ufeffcat\r\ndog\r\n\r\n",
    "numbered.txt": "0 cat\n1 dog\n",
    "synset_words.txt": "n02123045 cat\nn02084071 dog\n",
    "list.json": '["cat", "dog"]',
    "by_index.json": '{"1": "dog", "0": "cat"}',
    "keras.json": '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}',
}


@pytest.mark.parametrize("name", FILES)
def test_labels_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    assert read_labels(tmp_path / name) == ["cat", "dog"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", b"x" * 300])
def test_other_files_have_no_labels(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") is None
    (tmp_path / "labels.json").write_bytes(b'{"cat": 0}')
    assert read_labels(tmp_path / "labels.json") is None


def test_labels_have_to_be_as_many_as_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    report = ImportReport()
    assert choose_labels(None, tmp_path / "labels.txt", ["a", "b"], 2, report) == ["cat", "dog"]
    assert choose_labels(None, tmp_path / "labels.txt", ["a", "b", "c"], 3, report) == ["a", "b", "c"]
    assert report.notes == ["The archive has 2 labels, and the network 3 classes: unused."]
    assert choose_labels(["x", "y"], None, ["a", "b"], 2, report) == ["x", "y"]
    with pytest.raises(ImportRejected, match="2 labels, and the network has 3 classes"):
        choose_labels(["x", "y"], None, None, 3, report)
