"""Read the list of a dataset's accepted images from its pack's index, and the files of single ones from its pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.datasets.errors import DatasetNotValidated, FlagsNotRecorded, FlagUnknown, ImageNotFound, LabelUnknown
from service.datasets.pack_index import FLAGS, MEASURED_FLAGS, SPLITS, read_index
from service.datasets.schemas import Image
from service.datasets.thumbnails import ThumbnailOrder, round_size
from service.pagination import parse_position
from service.statuses import DatasetStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.datasets.pack_index import PackIndex
    from service.storage import Storage
    from service.tables import Dataset

BLOCK = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """The file of one image, unchanged, in a pack."""

    storage: Storage
    pack: str
    offset: int
    length: int
    name: str

    def read_blocks(self) -> Iterator[bytes]:
        """Read the file block by block."""
        with self.storage.reading(self.pack) as file:
            file.seek(self.offset)
            left = self.length
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block


class ImageList:
    """The accepted images of a dataset, in the order of its pack."""

    def __init__(self, dataset: Dataset, storage: Storage) -> None:
        """Raises DatasetNotValidated."""
        if dataset.status == DatasetStatus.VALIDATING:
            raise DatasetNotValidated(f"Dataset {dataset.id} is still being validated; try again when it is ready.")
        if dataset.status != DatasetStatus.READY:
            raise DatasetNotValidated(f"Dataset {dataset.id} failed validation as a whole; it has no images.")
        assert dataset.pack is not None
        assert dataset.index is not None
        self._id, self._pack, self._storage = dataset.id, dataset.pack, storage
        self._classes: list[str] = [entry["name"] for entry in dataset.classes]
        self.index: PackIndex = read_index(storage, dataset.index)

    def count_splits(self) -> dict[str, int]:
        """Count the images of each split that the archive gives; empty where it gives none."""
        counts = {name: self.index.splits.count(code) for code, name in enumerate(SPLITS) if name}
        return counts if any(counts.values()) else {}

    def read_page(
        self,
        limit: int,
        after: str | None,
        label: str | None = None,
        split: str | None = None,
        flag: str | None = None,
        splits: bytes | None = None,
    ) -> list[Image]:
        """Read the first `limit` + 1 images after the id `after` that match every filter.

        splits: the split of each image, a number in SPLITS, where not that of the dataset counts but that of a job.

        Raises PositionUnknown, LabelUnknown, FlagUnknown, FlagsNotRecorded.
        """
        index, splits = self.index, self.index.splits if splits is None else splits
        checks: list[Callable[[int], bool]] = []
        if split is not None:
            code = SPLITS.index(split)
            checks.append(lambda place: splits[place] == code)
        if label is not None:
            number = self.find_class(label)
            if index.several_labels is None:
                checks.append(lambda place: index.labels[place] == number)
            else:
                checks.append(lambda place: number in index.find_labels(place))
        if flag is not None:
            self._check_flag(flag)
            checks.append(lambda place: index.has_flag(place, flag))
        found: list[Image] = []
        for place in range(parse_position(self._id, after) + 1, len(index)):
            if all(check(place) for check in checks):
                found.append(self.build(place, SPLITS[splits[place]]))
                if len(found) > limit:
                    break
        return found

    def find_file(self, digest: str) -> StoredFile:
        """Find the file of the image with this digest, in hex; raises ImageNotFound."""
        place = self._find_place(digest)
        record = self.index.get(place)
        return StoredFile(self._storage, self._pack, record.offset, record.length, self.index.names[place])

    def order_thumbnail(self, digest: str, size: int) -> ThumbnailOrder:
        """Order the thumbnail of the image with this digest, in hex; raises ImageNotFound."""
        record = self.index.get(self._find_place(digest))
        return ThumbnailOrder(
            record.digest.hex(), self._pack, record.offset, record.length, self.index.decoding, round_size(size)
        )

    def find_class(self, label: str) -> int:
        """Find the number of a class; raises LabelUnknown."""
        if label not in self._classes:
            raise LabelUnknown(
                f"Dataset {self._id} has no class {label:.100}; its classes are {', '.join(self._classes)[:500]}."
            )
        return self._classes.index(label)

    def build(self, place: int, split: str | None) -> Image:
        """Build the JSON of the image at a place."""
        record, index = self.index.get(place), self.index
        return Image(
            id=f"{self._id}.{place}",
            digest=record.digest.hex(),
            file=index.names[place],
            labels=[self._classes[number] for number in index.find_labels(place)],
            split=split,
            flags=index.find_flags(place),
            width=record.width,
            height=record.height,
            bytes=record.length,
            url=f"/v1/datasets/{self._id}/images/{record.digest.hex()}",
        )

    def _find_place(self, digest: str) -> int:
        place = self.index.find_place(digest)
        if place is None:
            raise ImageNotFound(
                f"Dataset {self._id} has no image {digest:.100}; GET /v1/datasets/{self._id}/images lists them."
            )
        return place

    def _check_flag(self, flag: str) -> None:
        if flag not in (*FLAGS, *MEASURED_FLAGS):
            raise FlagUnknown(f"There is no flag {flag:.100}; there are {', '.join((*FLAGS, *MEASURED_FLAGS))}.")
        if flag in FLAGS and self.index.flags is None:
            raise FlagsNotRecorded(
                f"Dataset {self._id} was validated by an earlier release, which recorded no {flag} images. Upload it "
                f"again, or ask for one of {', '.join(MEASURED_FLAGS)}."
            )
