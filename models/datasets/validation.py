"""Validate an uploaded archive in one pass: pack the good images, report the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from models.datasets import layout, names, splits
from models.datasets.contents import read_archive
from models.datasets.errors import DatasetRejected, join_names
from models.datasets.pack import UNLABELLED, Entry
from models.datasets.report import SkippedFile, build_report, sort_skipped, summarize
from models.datasets.table_reader import Annotation, Layout
from models.images.decode import Decoding, choose_depth
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from models.catalog.losses import Task
    from models.datasets.archives import Limits
    from models.datasets.contents import ArchiveContents, File

MAX_BAD_SHARE = 0.2
MIN_IMAGES_PER_CLASS = 2
"""Smallest class that is accepted: one image to train on, one to validate on."""
SPLIT_PRIORITY = {"test": 0, "validation": 1, "train": 2, "": 3}
"""Split whose copy of a duplicate image is kept, the first wins: test images must not be trained on."""
NO_CLASS = "The file is in no class folder. Move it into one, or list it in labels.csv."
NOT_LISTED = "No table of labels lists the file."

Annotations = Mapping[PurePosixPath, Annotation]


@dataclass(frozen=True)
class ValidatedDataset:
    """A dataset that can be trained on, or is unlabelled."""

    entries: list[Entry]
    classes: list[dict[str, Any]]
    """name and count of each class, sorted by name."""
    task: Task | None
    """single_label or multi_label; None without labels."""
    digest: str
    """SHA-256, in hex, of all images with their labels and splits, in any order."""
    report: dict[str, Any]
    skipped: list[SkippedFile]
    """Files that are not used, with the reasons."""
    decoding: Decoding
    """The rules by which its images are decoded."""


def validate(
    archive: IO[bytes],
    pack: IO[bytes],
    limits: Limits,
    heartbeat: Callable[[], None] = no_heartbeat,
    *,
    is_labelled: bool = True,
) -> ValidatedDataset:
    """Validate an uploaded archive (seekable), and write its good images to `pack`.

    As the archive is read once, images are written before it is known whether they are accepted: the pack also holds
    images without a class or with several, which no entry names. Without labels, all good images are accepted.

    Raises DatasetRejected.
    """
    contents = read_archive(archive, pack, limits, heartbeat)
    _check_has_images(contents)
    found = _read_layout(contents, heartbeat) if is_labelled else _list_unlabelled(contents)
    listed = found.annotations.keys() if found.has_table else set[PurePosixPath]()
    # Scripts and notes in class folders are no images of the class, but what a table lists is meant to be one.
    non_images = {file.path for file in contents.files if file.path not in listed and not _is_meant(file)}
    annotations = {path: annotation for path, annotation in found.annotations.items() if path not in non_images}
    labelled = [file for file in contents.files if file.path in annotations]
    depth = _reduce_to_common_depth(labelled)
    accepted = _drop_duplicates(labelled, annotations)
    skipped = sort_skipped(
        [
            *_list_problems(contents.files, annotations.keys()),
            *_list_unused(contents, found),
            *found.skipped,
            *contents.skipped,
        ]
    )
    _check_bad_share(len(accepted), skipped)
    return _build_dataset(accepted, annotations, skipped, found.notes, Decoding(depth=depth), is_labelled=is_labelled)


def _read_layout(contents: ArchiveContents, heartbeat: Callable[[], None]) -> Layout:
    paths = [file.path for file in contents.files]
    images = [file.path for file in contents.files if _is_meant(file)]
    return layout.read_layout(paths, images, contents.tables, heartbeat)


def _list_unlabelled(contents: ArchiveContents) -> Layout:
    """List all good images as images of one unlabelled split."""
    unlabelled = Annotation((), UNLABELLED)
    tables = [
        SkippedFile(str(path), "table_not_used", "The dataset has no labels.", is_damage=False)
        for path in contents.tables
    ]
    annotations = {file.path: unlabelled for file in contents.files if not file.problem}
    return Layout(annotations, tables, ["no labels were read, as was asked for"])


def _is_meant(file: File) -> bool:
    """Tell whether a file is meant to be an image, by its bytes or its suffix."""
    return not file.problem or file.problem[0] not in {"not_an_image", "empty_file"} or names.is_image(file.path)


def _list_problems(files: Sequence[File], labelled: AbstractSet[PurePosixPath]) -> list[SkippedFile]:
    """List the files that have a problem; it is damage to images of a class."""
    return [
        SkippedFile(str(file.path), *file.problem, file.path in labelled and file.problem[0] != "duplicate")
        for file in files
        if file.problem
    ]


def _list_unused(contents: ArchiveContents, found: Layout) -> list[SkippedFile]:
    """List good images without a class; where a table tells why, it has listed them."""
    explained = {one.file for one in found.skipped}
    message = NOT_LISTED if found.has_table else NO_CLASS
    return [
        SkippedFile(str(file.path), "no_class", message, is_damage=False)
        for file in contents.files
        if not file.problem and file.path not in found.annotations and str(file.path) not in explained
    ]


def _reduce_to_common_depth(files: Sequence[File]) -> int | None:
    """Choose the depth of a dataset's images, and take the digests of their pixels when reduced by it."""
    depth = choose_depth(file.image for file in files)
    for file in files:
        if file.image is not None:
            file.digest = file.image.get_digest(depth)
    return depth


def _drop_duplicates(files: list[File], annotations: Annotations) -> list[File]:
    """Keep each good image once; mark duplicates, and images that have different labels in several files."""
    copies: dict[bytes, list[File]] = {}
    for file in files:
        if not file.problem:
            copies.setdefault(file.digest, []).append(file)
    kept = []
    for group in copies.values():
        if len({annotations[file.path].labels for file in group}) > 1:
            labels = ", ".join(sorted({"|".join(annotations[file.path].labels) or "none" for file in group}))
            for file in group:
                file.problem = (
                    "label_conflict",
                    f"The same image has different labels: {labels}. Keep the file with the right one.",
                )
            continue
        first, *others = sorted(group, key=lambda file: SPLIT_PRIORITY.get(annotations[file.path].split, 0))
        kept.append(first)
        first.has_copies = bool(others)
        for file in others:
            file.problem = ("duplicate", f"The same image as {first.path}, which is kept.")
    return kept


def _check_has_images(contents: ArchiveContents) -> None:
    meant = [file for file in contents.files if _is_meant(file)]
    nested = [one.file for one in contents.skipped if one.code == "archive_nested"]
    if not meant and nested:
        raise DatasetRejected(
            "archive_nested",
            f"The archive has no images, but other archives in it: {join_names(nested)}. Send one of them, or put the "
            "files of all into one archive.",
        )
    if not meant:
        raise DatasetRejected("no_images", "No file of the archive is an image. Put JPEG or PNG files in it.")
    bad = _list_problems(meant, {file.path for file in meant})
    if len(bad) == len(meant):
        raise DatasetRejected("no_images", f"None of the archive's {len(bad)} images can be used {summarize(bad)}")


def _check_bad_share(accepted: int, skipped: Sequence[SkippedFile]) -> None:
    bad = [one for one in skipped if one.is_damage]
    total = accepted + len(bad)
    if len(bad) > MAX_BAD_SHARE * total:
        raise DatasetRejected(
            "too_many_bad_files",
            f"{len(bad)} of {total} files cannot be used, more than {MAX_BAD_SHARE:.0%} {summarize(bad)}",
        )


def _build_dataset(
    files: list[File],
    annotations: Annotations,
    skipped: list[SkippedFile],
    notes: Sequence[str],
    decoding: Decoding,
    *,
    is_labelled: bool,
) -> ValidatedDataset:
    counts = Counter(label for file in files for label in annotations[file.path].labels)
    # A class all of whose images are bad must be reported too, not silently lost.
    classes = sorted(counts.keys() | {label for annotation in annotations.values() for label in annotation.labels})
    if is_labelled:
        _check_classes({name: counts[name] for name in classes}, len(files), "; ".join(notes))
    entries = _build_entries(files, annotations, classes)
    if is_labelled:
        splits.check_splits(entries, classes)
    has_several = any(len(entry.labels) > 1 for entry in entries)
    return ValidatedDataset(
        entries=entries,
        classes=[{"name": name, "count": counts[name]} for name in classes],
        task=("multi_label" if has_several else "single_label") if is_labelled else None,
        digest=_compute_digest(entries, classes),
        report=build_report(len(files), skipped, notes, decoding.depth),
        skipped=skipped,
        decoding=decoding,
    )


def _build_entries(files: Sequence[File], annotations: Annotations, classes: Sequence[str]) -> list[Entry]:
    index = {name: position for position, name in enumerate(classes)}
    return [
        Entry(
            digest=file.digest,
            offset=file.offset,
            length=file.length,
            width=image.width,
            height=image.height,
            labels=tuple(index[label] for label in annotations[file.path].labels),
            split=annotations[file.path].split,
            name=str(file.path),
            lossless_digest=None if image.depth is None else image.digest,
            flags=image.flags | ({"copies"} if file.has_copies else set()),
        )
        for file in files
        if (image := file.image)
    ]


def _check_classes(counts: dict[str, int], images: int, found: str) -> None:
    if len(counts) < 2:
        raise DatasetRejected(
            "too_few_classes",
            f"The only class is {', '.join(counts)} ({found}). Put the images of at least two classes in one folder "
            "each.",
        )
    if len(counts) > images:
        raise DatasetRejected(
            "too_many_classes",
            f"There are {len(counts)} classes for {images} images ({found}). Send more images of each class, or other "
            "labels.",
        )
    small = [f"{name} has {count}" for name, count in counts.items() if count < MIN_IMAGES_PER_CLASS]
    if small:
        raise DatasetRejected(
            "class_too_small",
            f"Every class needs at least {MIN_IMAGES_PER_CLASS} good images, but {join_names(small)} ({found}). "
            "Add images to the class, or leave it out.",
        )


def _compute_digest(entries: Sequence[Entry], classes: Sequence[str]) -> str:
    lines = sorted(
        f"{entry.digest.hex()} {'|'.join(classes[label] for label in entry.labels)} {entry.split}\n"
        for entry in entries
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
