"""Files of results: every format has the same rows."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from pyarrow import parquet

from models.datasets.pack import UNLABELLED, Entry, Pack, write_index
from predictor import results
from predictor.batch import PredictedImage
from predictor.results import Columns, build_line, write_results

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COLUMNS = Columns([("flowers", 2), ("ckpt_1", 1)])
NAMES = [
    "file", "digest", "split", "labels", "error",
    "flowers.class", "flowers.probability", "flowers.class_2", "flowers.probability_2",
    "flowers.set", "flowers.unlike_training", "flowers.score",
    "ckpt_1.class", "ckpt_1.probability", "ckpt_1.set", "ckpt_1.unlike_training", "ckpt_1.score",
]  # fmt: skip


def prediction(model: str, *classes: tuple[str, float], **facts: Any) -> dict[str, Any]:
    named = [{"name": name, "probability": probability} for name, probability in classes]
    return {"model": model, "checkpoint": "ckpt_1", "classes": named, **facts}


def row(file: str, **facts: Any) -> dict[str, Any]:
    """A row with predictions of both models."""
    predictions = [
        prediction(
            "flowers",
            ("=rose", 0.75),
            ("tulip", 0.25),
            set=["=rose", "tulip"],
            unlike_training=False,
            score=0.123456789,
        ),
        prediction("ckpt_1", ("ü", 1.0), set=None, unlike_training=None, score=None),
    ]
    return {
        "file": file, "digest": "ab" * 32, "split": "test", "labels": ["a", "b"], "predictions": predictions,
        "error": None, **facts,
    }  # fmt: skip


def write(rows: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    return write_results([json.dumps(each).encode() + b"\n" for each in rows], COLUMNS, folder)


def test_every_format_has_every_row(tmp_path: Path) -> None:
    error = {"code": "truncated", "message": "The file ends too early."}
    rows = [
        row("red/1.png"),
        row('=HYPERLINK("http://x")'),
        row("z.png", split=None, labels=[], predictions=[], error=error),
    ]
    files = write(rows, tmp_path)
    assert [json.loads(line) for line in files["jsonl"].read_text().splitlines()] == rows
    with files["csv"].open(encoding="utf-8", newline="") as text:
        header, *cells = list(csv.reader(text))
    assert header == NAMES
    digest = "ab" * 32
    assert cells[0] == [
        "red/1.png", digest, "test", "a|b", "", "'=rose", "0.75", "tulip", "0.25", "'=rose|tulip", "false", "0.123457",
        "ü", "1", "", "", "",
    ]  # fmt: skip
    assert cells[1][0] == '\'=HYPERLINK("http://x")'
    assert cells[2] == ["z.png", digest, "", "", "truncated: The file ends too early.", *[""] * 12]
    table = parquet.read_table(files["parquet"])
    assert table.column_names == NAMES
    first, second, third = table.to_pylist()
    assert list(first.values()) == [
        "red/1.png", digest, "test", ["a", "b"], None, "=rose", 0.75, "tulip", 0.25, ["=rose", "tulip"], False,
        0.123456789, "ü", 1.0, None, None, None,
    ]  # fmt: skip
    assert second["file"] == '=HYPERLINK("http://x")'
    assert (third["labels"], third["error"], third["flowers.class"]) == ([], cells[2][4], None)


def test_a_large_table_is_written_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "CELLS_AT_ONCE", 3 * len(NAMES))
    files = write([row(f"{number}.png") for number in range(10)], tmp_path)
    assert parquet.ParquetFile(files["parquet"]).num_row_groups == 4
    assert parquet.read_table(files["parquet"])["file"].to_pylist() == [f"{number}.png" for number in range(10)]
    assert len(files["csv"].read_text().splitlines()) == 11


def test_a_row_says_split_and_labels_as_the_dataset_has_them(tmp_path: Path) -> None:
    entries = [
        Entry(bytes([1]) * 32, 0, 1, 8, 8, (0, 2), "train", "a/ü.png"),
        Entry(bytes([2]) * 32, 0, 1, 8, 8, (1,), "", "b.png"),
        Entry(bytes([3]) * 32, 0, 1, 8, 8, (), UNLABELLED, "c.png"),
    ]
    (tmp_path / "pack").write_bytes(b"x")
    with (tmp_path / "index").open("wb") as index:
        write_index(index, entries)
    pack = Pack(tmp_path / "pack", tmp_path / "index")
    lines = [json.loads(build_line(PredictedImage(place, []), pack, ["x", "y", "z"])) for place in range(3)]
    assert [(line["file"], line["digest"], line["split"], line["labels"]) for line in lines] == [
        ("a/ü.png", "01" * 32, "train", ["x", "z"]),
        ("b.png", "02" * 32, None, ["y"]),
        ("c.png", "03" * 32, None, []),
    ]
