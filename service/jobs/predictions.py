"""Predictions of a job for its validation and test images, as its checkpoint keeps them; read without numpy.

The format is that of models/evaluation/image_predictions.py, which the API does not load.
"""

from __future__ import annotations

import json
import operator
import struct
import sys
from array import array
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from service.byte_cache import ByteCache
from service.datasets.errors import SliceUnknown
from service.datasets.images import ImageList
from service.datasets.pack_index import SPLITS, UNLABELLED_SPLIT
from service.datasets.slicing import HAS_NONE, build_finder, check_name
from service.jobs import repository
from service.jobs.errors import JobOfOtherDataset, PredictionsNotFound
from service.jobs.schemas import ImagePrediction
from service.pagination import PositionUnknown, parse_position
from service.predictions.schemas import ClassProbability
from service.statuses import JobStatus
from service.tables import Checkpoint, ImagePredictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.datasets.pack_index import PackIndex
    from service.datasets.slicing import By
    from service.storage import Storage
    from service.tables import Dataset, Job

VERSION = 1
MOST_KEPT_BYTES = 64 << 20
"""Bytes of the files of predictions that are kept in memory after they were read: some 60 an image."""
_kept: ByteCache[PredictionFile] = ByteCache(MOST_KEPT_BYTES)

PROBABILITY = struct.Struct("=e")

Order = Literal["worst", "doubtful", "name"]


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions for the images of one split, column by column; their rows are in the order of the dataset."""

    places: Sequence[int]
    """Positions of the images in the dataset."""
    losses: Sequence[float]
    counts: bytes
    """How many of the most probable classes are predicted."""
    classes: Sequence[int]
    """The most probable classes of each image, one image after the other."""
    probabilities: array[int]
    """Bits of their probabilities, in half precision."""
    orders: dict[str, Sequence[int]]


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """The predictions that a checkpoint keeps."""

    is_multi_label: bool
    kept: int
    """Most probable classes of each image."""
    splits: dict[str, SplitPredictions]

    @classmethod
    def from_bytes(cls, content: bytes) -> PredictionFile:
        """Read a file."""
        place = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:place])
        assert header["version"] <= VERSION
        kept, splits = header["kept"], {}

        def read(kind: str, count: int) -> array[Any]:
            nonlocal place
            column: array[Any] = array(kind)
            end = place + count * column.itemsize
            column.frombytes(content[place:end])
            if sys.byteorder == "big":
                column.byteswap()
            place = end
            return column

        for split in header["splits"]:
            count = split["images"]
            splits[split["name"]] = SplitPredictions(
                places=read("I", count),
                losses=read("f", count),
                counts=read("B", count).tobytes(),
                classes=read("H" if header["class_bytes"] == 2 else "I", kept * count),
                probabilities=read("H", kept * count),
                orders={order: read("I", count) for order in ("worst", "doubtful", "name")},
            )
        return cls(header["is_multi_label"], kept, splits)

    def list_places(self, split: str) -> Sequence[int]:
        """List the positions in the dataset of a split's images; none where the job has no such split."""
        found = self.splits.get(split)
        return () if found is None else found.places

    def find_predicted(self, split: SplitPredictions, row: int) -> Sequence[int]:
        """Find the classes that are predicted for an image."""
        first = row * self.kept
        return split.classes[first : first + split.counts[row]]

    def override_splits(self, splits: bytes) -> bytes:
        """Override the dataset's split of each image, numbers in SPLITS, by the job's."""
        numbers = bytearray(UNLABELLED_SPLIT if code == UNLABELLED_SPLIT else 1 for code in splits)
        for name, found in self.splits.items():
            for place in found.places:
                numbers[place] = SPLITS.index(name)
        return bytes(numbers)


def mark_right(file: PredictionFile, split: str, index: PackIndex) -> bytes:
    """Mark each image of a split whose predicted classes are its own by 1, others by 0."""
    found = file.splits.get(split)
    if found is None:
        return b""
    if not file.is_multi_label:
        return bytes(map(operator.eq, found.classes[:: file.kept], map(index.labels.__getitem__, found.places)))
    return bytes(
        set(file.find_predicted(found, row)) == set(index.find_labels(place)) for row, place in enumerate(found.places)
    )


@dataclass(frozen=True)
class Filters:
    """Conditions that listed predictions meet."""

    label: str | None = None
    """A class that the image has."""
    predicted: str | None = None
    """A class that is predicted."""
    by: By | None = None
    """What images are sliced by."""
    slice: str | None = None
    """The slice that the image is in; HAS_NONE is no filter where `by` is None, as a form sends it."""
    above: float | None = None
    """The most probable class has a greater probability."""
    up_to: float | None = None
    """It has no greater one."""


NO_FILTERS = Filters()


class PredictionList:
    """A job's predictions, image by image."""

    def __init__(self, job: Job, dataset: Dataset, file: PredictionFile, storage: Storage) -> None:
        self._job, self.file = job.id, file
        self.metrics: dict[str, Any] = job.metrics or {}
        self._images = ImageList(dataset, storage)
        self.index = self._images.index
        self.classes: list[str] = [entry["name"] for entry in dataset.classes]

    def find_class(self, name: str) -> int:
        """Find the number of a class; raises LabelUnknown."""
        return self._images.find_class(name)

    def read_page(
        self, limit: int, after: str | None, split: str, order: Order, top_k: int, filters: Filters = NO_FILTERS
    ) -> list[ImagePrediction]:
        """Read the first `limit` + 1 predictions after the id `after`, in an order, that match every filter.

        Raises PositionUnknown, LabelUnknown, SliceUnknown.
        """
        found: list[ImagePrediction] = []
        checks = list(self._build_checks(split, filters))
        of_split = self.file.splits.get(split)
        if of_split is None:
            return found
        rows = of_split.orders[order]
        for row in rows[self._find_start(of_split, rows, after) :]:
            if all(check(row) for check in checks):
                found.append(self._build(of_split, row, split, top_k))
                if len(found) > limit:
                    break
        return found

    def _build_checks(self, split: str, filters: Filters) -> Iterator[Callable[[int], bool]]:
        """Build the functions that tell whether the image of a row matches each filter."""
        wanted = [
            None if name is None else self._images.find_class(name) for name in (filters.label, filters.predicted)
        ]
        if filters.slice is None if filters.by is not None else filters.slice:
            raise SliceUnknown("Send both `by` and `slice`, or neither: by=size&slice=64-127.")
        find = None
        if filters.by is not None and filters.slice is not None:
            self._check_slice(filters.by, filters.slice)
            find = build_finder(self.index, self.classes, filters.by)
        found = self.file.splits.get(split)
        if found is None:
            return
        label, predicted = wanted
        if label is not None:
            yield lambda row: label in self.index.find_labels(found.places[row])
        if predicted is not None:
            yield lambda row: predicted in self.file.find_predicted(found, row)
        if find is not None:
            yield lambda row: filters.slice in find(found.places[row])
        low, high = filters.above, filters.up_to
        if low is not None or high is not None:
            bounds = -1.0 if low is None else low, 1.0 if high is None else high
            step = 2 * self.file.kept
            yield lambda row: bounds[0] < PROBABILITY.unpack_from(found.probabilities, row * step)[0] <= bounds[1]

    def _check_slice(self, by: By, name: str) -> None:
        check_name(by, name)
        if by == "class" and name != HAS_NONE:
            self._images.find_class(name)

    def _find_start(self, split: SplitPredictions, rows: Sequence[int], after: str | None) -> int:
        place = parse_position(self._job, after)
        if place < 0:
            return 0
        try:
            return rows.index(split.places.index(place)) + 1
        except (ValueError, OverflowError):
            message = f"{after} names no prediction of this list; send an id that it gave, with the same split."
            raise PositionUnknown(message) from None

    def _build(self, split: SplitPredictions, row: int, name: str, top_k: int) -> ImagePrediction:
        image = self._images.build(split.places[row], name)
        kept, predicted = self.file.kept, [self.classes[number] for number in self.file.find_predicted(split, row)]
        probabilities = struct.unpack_from(f"={kept}e", split.probabilities, 2 * row * kept)
        numbers = split.classes[row * kept : (row + 1) * kept]
        named = [
            ClassProbability(name=self.classes[number], probability=probability)
            for number, probability in zip(numbers, probabilities, strict=True)
        ]
        loss = split.losses[row]
        return ImagePrediction(
            **{**image.model_dump(), "id": f"{self._job}.{split.places[row]}"},
            predicted=predicted,
            is_correct=set(predicted) == set(image.labels),
            label_probability=None if self.file.is_multi_label else exp(-loss),
            loss=loss,
            classes=named[:top_k],
        )


def find(session: Session, job: Job) -> str:
    """Find the checkpoint whose predictions are those of a job: that of its best epoch. Raises PredictionsNotFound."""
    return _find_kept(session, job, Checkpoint.kind == "best")


def find_of_dataset(session: Session, job_id: str, dataset_id: str) -> str:
    """Find a checkpoint whose predictions tell how a job split a dataset, which is the same for all of the job's.

    Raises JobNotFound, JobOfOtherDataset, PredictionsNotFound.
    """
    job = repository.get(session, job_id)
    if job.dataset_id != dataset_id:
        raise JobOfOtherDataset(f"Job {job_id} was trained on {job.dataset_id}, not on {dataset_id}.")
    return _find_kept(session, job)


def _find_kept(session: Session, job: Job, *conditions: ColumnElement[bool]) -> str:
    query = select(Checkpoint.id).join(ImagePredictions, ImagePredictions.checkpoint_id == Checkpoint.id)
    found = session.scalar(query.where(Checkpoint.job_id == job.id, *conditions).limit(1))
    if found is not None:
        return found
    if job.status == JobStatus.SUCCEEDED:
        reason = "was run by an earlier release, which kept none, or its checkpoint was deleted. Run it again"
    elif job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        reason = f"was {job.status}, and has none"
    else:
        reason = f"is {job.status}; they are kept when it succeeds"
    raise PredictionsNotFound(f"There are no predictions of {job.id} for its images: it {reason}.")


def read(database: Database, checkpoint: str) -> PredictionFile:
    """Read the predictions of a checkpoint, which never change and are kept in memory; raises PredictionsNotFound."""
    key = database.url, checkpoint
    found = _kept.recall(key)
    if found is None:
        with database.reading() as session:
            row = session.get(ImagePredictions, checkpoint)
        if row is None:
            raise PredictionsNotFound(f"There are no predictions of {checkpoint}, which was deleted.")
        found = PredictionFile.from_bytes(row.content)
        _kept.remember(key, found, len(row.content))
    return found
