"""The user's samples: images in folders named as the class that the network should see in them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from timm.data import ImageNetInfo

from models.datasets import names
from models.datasets.archives import Limits
from models.datasets.archives.reader import read_files
from models.datasets.errors import DatasetRejected
from models.images.decode import BadImage, Decoding, check, decode
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from PIL import Image

MAX_IMAGES = 200
"""Most images that are used: each is run with every preprocessing that is tried."""
LIMITS = Limits(bytes=2 << 30, files=20_000)
WORDNET = re.compile(r"n\d{8}")
IMAGENET = 1000
BACKGROUND = 1
"""Classes that TensorFlow's networks of 1001 have before those of ImageNet."""


@dataclass(frozen=True)
class Sample:
    """An image with the name of its class."""

    name: str
    image: Image.Image


def read_samples(path: Path, heartbeat: Callable[[], None]) -> list[Sample]:
    """Read the samples in a zip, tar or folder, at most MAX_IMAGES, as many of each class as of the others.

    Raises ImportRejected where there are none.
    """
    by_class: dict[str, list[Sample]] = defaultdict(list)
    try:
        for file, data in _read_folder(path) if path.is_dir() else _read_archive(path):
            heartbeat()
            if len(by_class[file.parent.name]) >= MAX_IMAGES:
                continue
            try:
                check(data)
                image = decode(data, Decoding())
            except BadImage:
                continue
            by_class[file.parent.name].append(Sample(names.normalize(file.parent.name), image))
    except DatasetRejected as error:
        raise ImportRejected("samples_unusable", f"The samples cannot be read: {error}") from error
    found = _take_evenly([by_class[name] for name in sorted(by_class)])
    if not found:
        raise ImportRejected(
            "samples_unusable",
            "The samples hold no images in folders. Send a zip with a folder for each class, named as the class (its "
            "name in the labels, its WordNet id, or its index), with images in it.",
        )
    return found


def _read_archive(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with path.open("rb") as file:
        for member in read_files(file, LIMITS):
            if member.problem is None and member.path.parent.name and names.is_image(member.path):
                yield member.path, member.read()


def _read_folder(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.parent != path and names.is_image(PurePosixPath(file.name)):
            yield PurePosixPath(file), file.read_bytes()


def _take_evenly(classes: Sequence[list[Sample]]) -> list[Sample]:
    taken: list[Sample] = []
    for place in range(max((len(one) for one in classes), default=0)):
        taken += [one[place] for one in classes if place < len(one)]
    return taken[:MAX_IMAGES]


def match_classes(samples: Sequence[Sample], labels: Sequence[str] | None, num_classes: int) -> dict[str, int]:
    """Match the names of the samples' folders with the indices of a network's classes.

    A folder is named as a label, as one of a label's synonyms ("tench, Tinca tinca"), by its WordNet id, or by its
    index, where labels are no numbers themselves. Folders that match nothing are left out.
    """
    known: dict[str, int] = {}
    for index in range(num_classes):
        known[str(index)] = index
    for offset, texts in _list_names(labels, num_classes):
        for index, text in enumerate(texts):
            for name in (text, *text.split(",")):
                known.setdefault(_simplify(name), index + offset)
        if labels is not None:
            known.update({_simplify(text): index for index, text in enumerate(labels)})
    found = {sample.name: known.get(_simplify(sample.name)) for sample in samples}
    return {name: index for name, index in found.items() if index is not None}


def _list_names(labels: Sequence[str] | None, num_classes: int) -> Iterator[tuple[int, Sequence[str]]]:
    """List what each class is called, with the index of the first; ImageNet's, where there are as many classes."""
    if labels is not None:
        yield 0, labels
    if num_classes not in (IMAGENET, IMAGENET + BACKGROUND):
        return
    offset = num_classes - IMAGENET
    info = ImageNetInfo("imagenet-1k")
    first = None if labels is None else _simplify(labels[offset]) if len(labels) > offset else None
    if first is None or WORDNET.fullmatch(first) or first in _simplify(info.index_to_description(0)):
        yield offset, info.label_names()
        yield offset, [info.index_to_description(index) for index in range(IMAGENET)]


def _simplify(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", names.normalize(text)).casefold().split())
