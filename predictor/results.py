"""Results of a batch prediction: a row for each image, as JSON Lines, CSV and Parquet.

A row of JSON Lines has all that is known. CSV and Parquet have the same columns as each other, some for each model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from models.datasets.pack import SPLIT_CODES, UNLABELLED
from service.csv_text import format_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from models.datasets.pack import Pack
    from predictor.batch import PredictedImage

FIXED = ("file", "digest", "split", "labels", "error")
"""Columns that do not depend on the models."""
LISTS = ("labels", "set")
"""Columns that hold several names."""
CELLS_AT_ONCE = 200_000
"""Cells of a table in memory: rows times columns."""


@dataclass(frozen=True)
class Columns:
    """Columns of CSV and Parquet: for each model its name, and how many of its classes are listed."""

    models: Sequence[tuple[str, int]]

    @property
    def names(self) -> list[str]:
        """Names of the columns, such as flowers.class, flowers.probability, flowers.class_2."""
        names = list(FIXED)
        for model, classes in self.models:
            for rank in range(1, classes + 1):
                suffix = "" if rank == 1 else f"_{rank}"
                names += [f"{model}.class{suffix}", f"{model}.probability{suffix}"]
            names += [f"{model}.{fact}" for fact in ("set", "unlike_training", "score")]
        return names

    def flatten(self, row: dict[str, Any]) -> list[Any]:
        """List the cells of a row; those of a model are None where it has an error."""
        error = row["error"]
        cells = [row["file"], row["digest"], row["split"], row["labels"]]
        cells.append(None if error is None else f"{error['code']}: {error['message']}")
        predictions = row["predictions"] or [{"classes": ()}] * len(self.models)
        for (_, classes), prediction in zip(self.models, predictions, strict=True):
            named = prediction["classes"]
            for rank in range(classes):
                there = rank < len(named)
                cells += [named[rank]["name"], named[rank]["probability"]] if there else [None, None]
            cells += [prediction.get(fact) for fact in ("set", "unlike_training", "score")]
        return cells


def build_line(image: PredictedImage, pack: Pack, classes: Sequence[str]) -> bytes:
    """Build the row of an image as a line of JSON; `classes` are those of the dataset."""
    split = SPLIT_CODES[int(pack.splits[image.position])]
    row = {
        "file": pack.names[image.position],
        "digest": pack.digests[image.position].tobytes().hex(),
        "split": None if split == UNLABELLED else split or None,
        "labels": [classes[label] for label in pack.list_labels(image.position)],
        "predictions": image.predictions,
        "error": image.error,
    }
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def write_results(lines: Iterable[bytes], columns: Columns, folder: Path) -> dict[str, Path]:
    """Write lines of JSON in every format, in one pass and constant memory; returns the files by format."""
    import pyarrow as pa  # 0.2 s, and only needed here
    from pyarrow import parquet

    files = {format: folder / f"results.{format}" for format in ("csv", "jsonl", "parquet")}
    names = columns.names
    schema = pa.schema([(name, _choose_type(name)) for name in names])
    with (
        files["jsonl"].open("wb") as json_lines,
        files["csv"].open("w", encoding="utf-8", newline="") as text,
        parquet.ParquetWriter(files["parquet"], schema, compression="zstd") as table,
    ):
        text.write(format_csv([names]))
        for chunk in _split(lines, max(1, CELLS_AT_ONCE // len(names))):
            json_lines.writelines(chunk)
            rows = [columns.flatten(json.loads(line)) for line in chunk]
            text.write(format_csv(rows))
            arrays = [pa.array(cells, field.type) for cells, field in zip(zip(*rows, strict=True), schema, strict=True)]
            table.write_batch(pa.record_batch(arrays, schema=schema))
    return files


def _choose_type(name: str) -> Any:
    """Choose the type of a column of Parquet."""
    import pyarrow as pa

    fact = name.rpartition(".")[2] if name not in FIXED else name
    if fact in LISTS:
        return pa.list_(pa.string())
    if fact == "unlike_training":
        return pa.bool_()
    return pa.float64() if fact.startswith(("probability", "score")) else pa.string()


def _split(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    iterator = iter(lines)
    while chunk := list(islice(iterator, size)):
        yield chunk
