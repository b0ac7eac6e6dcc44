"""Validate an uploaded archive in one pass: pack the good images, report the others."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from models.datasets import layout, names, splits
from models.datasets.archives.reader import Limits, read_files
from models.datasets.errors import DatasetRejected, join_names
from models.datasets.pack import Entry
from models.images import decode
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from concurrent.futures import Future

    from models.catalog.losses import Task

LOOKAHEAD = 16
"""Images that are decoded at the same time: bounds memory."""
MAX_BAD_SHARE = 0.2
MIN_IMAGES_PER_CLASS = 2
"""Smallest class that is accepted: one image to train on, one to validate on."""
MAX_REPORTED = 1000
SPLIT_PRIORITY = {"test": 0, "validation": 1, "train": 2, "": 3}
"""Split whose copy of a duplicate image is kept, the first wins: test images must not be trained on."""
NO_CLASS = "The file is in no class folder. Move it into one, or list it in labels.csv."
MISSING_FILE = f"{layout.TABLE} lists this file, but the archive does not have it."

Annotations = Mapping[PurePosixPath, layout.Annotation]


@dataclass(frozen=True)
class ValidatedDataset:
    """A dataset that can be trained on."""

    entries: list[Entry]
    classes: list[dict[str, Any]]
    """name and count of each class, sorted by name."""
    task: Task
    """single_label or multi_label."""
    digest: str
    """SHA-256, in hex, of all images with their labels and splits, in any order."""
    report: dict[str, Any]


@dataclass
class _File:
    path: PurePosixPath
    digest: bytes = b""
    width: int = 0
    height: int = 0
    offset: int = 0
    length: int = 0
    problem: tuple[str, str] | None = None
    """Code and message."""


@dataclass(frozen=True)
class _Skipped:
    file: str
    code: str
    message: str
    is_damage: bool = True
    """False for duplicates, scripts and notes, which do a dataset no harm."""


@dataclass
class _ArchiveContents:
    files: list[_File] = field(default_factory=list)
    table: tuple[PurePosixPath, bytes] | None = None


def validate(
    archive: IO[bytes], pack: IO[bytes], limits: Limits, heartbeat: Callable[[], None] = no_heartbeat
) -> ValidatedDataset:
    """Validate an uploaded archive (seekable), and write its good images to `pack`.

    As the archive is read once, images are written before it is known whether they are accepted: the pack also holds
    images without a class or with several, at most a fifth of all, which no entry names.

    Raises DatasetRejected.
    """
    contents = _read_archive(archive, pack, limits, heartbeat)
    non_images = _find_non_images(contents)
    _check_has_images([file for file in contents.files if file.path not in non_images])
    found = _read_layout(contents)
    labelled = [file for file in contents.files if file.path in found.annotations]
    accepted = _drop_duplicates(labelled, found.annotations)
    skipped = [
        *_list_problems(labelled, non_images),
        *(_Skipped(str(path), "no_class", NO_CLASS) for path in _find_unlabelled_images(contents, found)),
        *(_Skipped(name, "missing_file", MISSING_FILE) for name in found.missing),
    ]
    _check_bad_share(len(accepted), skipped)
    annotations = {path: annotation for path, annotation in found.annotations.items() if path not in non_images}
    return _build_dataset(accepted, annotations, skipped)


def _read_archive(
    archive: IO[bytes], pack: IO[bytes], limits: Limits, heartbeat: Callable[[], None]
) -> _ArchiveContents:
    """Read all files, and write each image to the pack once."""
    contents = _ArchiveContents()
    written: dict[bytes, tuple[int, int]] = {}
    end = 0
    for file, data in _decode_files(archive, limits, contents, heartbeat):
        contents.files.append(file)
        if file.problem:
            continue
        if file.digest not in written:
            pack.write(data)
            written[file.digest] = (end, len(data))
            end += len(data)
        file.offset, file.length = written[file.digest]
    return contents


def _decode_files(
    archive: IO[bytes], limits: Limits, contents: _ArchiveContents, heartbeat: Callable[[], None]
) -> Iterator[tuple[_File, bytes]]:
    """Decode each file, in the archive's order; Pillow releases the interpreter lock, so threads use all cores."""
    ahead: deque[tuple[Future[_File], bytes]] = deque()
    with ThreadPoolExecutor(thread_name_prefix="decode") as threads:
        for file in read_files(archive, limits):
            heartbeat()
            data = file.read()
            if layout.is_table(file.path):
                _keep_table(contents, file.path, data)
                continue
            ahead.append((threads.submit(_decode_file, file.path, data), data))
            if len(ahead) > LOOKAHEAD:
                future, data = ahead.popleft()
                yield future.result(), data
        for future, data in ahead:
            yield future.result(), data


def _keep_table(contents: _ArchiveContents, path: PurePosixPath, data: bytes) -> None:
    if contents.table is not None:
        raise DatasetRejected(
            "labels_ambiguous",
            f"Both {contents.table[0]} and {path} give labels. Join them into one, with paths relative to it.",
        )
    contents.table = (path, data)


def _decode_file(path: PurePosixPath, data: bytes) -> _File:
    try:
        image = decode.decode(data)
    except decode.BadImage as problem:
        return _File(path, problem=(problem.code, str(problem)))
    return _File(path, decode.compute_digest(image), image.width, image.height)


def _read_layout(contents: _ArchiveContents) -> layout.Layout:
    paths = [file.path for file in contents.files]
    if contents.table is not None:
        return layout.read_table(paths, *contents.table)
    return layout.read_folders(paths, [file.path for file in contents.files if not file.problem])


def _find_non_images(contents: _ArchiveContents) -> set[PurePosixPath]:
    """Find the files that are no images by labels.csv, by their suffix and by their bytes."""
    if contents.table is not None:
        return set()
    return {
        file.path
        for file in contents.files
        if file.problem and file.problem[0] in {"not_an_image", "empty_file"} and not names.is_image(file.path)
    }


def _list_problems(files: Sequence[_File], non_images: AbstractSet[PurePosixPath]) -> list[_Skipped]:
    """List the files that have a problem."""
    return [
        _Skipped(str(file.path), *file.problem, file.path not in non_images and file.problem[0] != "duplicate")
        for file in files
        if file.problem
    ]


def _find_unlabelled_images(contents: _ArchiveContents, found: layout.Layout) -> list[PurePosixPath]:
    """Find images without a class; other files without one (a README, a licence) are not reported."""
    unlabelled = set(found.unlabelled)
    return [file.path for file in contents.files if file.path in unlabelled and not file.problem]


def _drop_duplicates(files: list[_File], annotations: Annotations) -> list[_File]:
    """Keep each good image once; mark duplicates, and images that have different labels in several files."""
    copies: dict[bytes, list[_File]] = {}
    for file in files:
        if not file.problem:
            copies.setdefault(file.digest, []).append(file)
    kept = []
    for group in copies.values():
        if len({annotations[file.path].labels for file in group}) > 1:
            labels = ", ".join(sorted({"|".join(annotations[file.path].labels) for file in group}))
            for file in group:
                file.problem = (
                    "label_conflict",
                    f"The same image has different labels: {labels}. Keep the file with the right one.",
                )
            continue
        first, *others = sorted(group, key=lambda file: SPLIT_PRIORITY[annotations[file.path].split])
        kept.append(first)
        for file in others:
            file.problem = ("duplicate", f"The same image as {first.path}, which is kept.")
    return kept


def _check_has_images(files: Sequence[_File]) -> None:
    if not files:
        raise DatasetRejected("no_images", "No file of the archive is an image. Put JPEG or PNG files in it.")
    bad = _list_problems(files, frozenset())
    if len(bad) == len(files):
        raise DatasetRejected("no_images", f"None of the archive's {len(bad)} images can be used {_summarize(bad)}")


def _check_bad_share(accepted: int, skipped: Sequence[_Skipped]) -> None:
    bad = [one for one in skipped if one.is_damage]
    total = accepted + len(bad)
    if len(bad) > MAX_BAD_SHARE * total:
        raise DatasetRejected(
            "too_many_bad_files",
            f"{len(bad)} of {total} files cannot be used, more than {MAX_BAD_SHARE:.0%} {_summarize(bad)}",
        )


def _summarize(bad: Sequence[_Skipped]) -> str:
    """Count the problems by code, and give the message of the first."""
    counts = ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in bad).most_common())
    return f"({counts}). First: {bad[0].file}: {bad[0].message}"


def _build_dataset(files: list[_File], annotations: Annotations, skipped: Sequence[_Skipped]) -> ValidatedDataset:
    counts = Counter(label for file in files for label in annotations[file.path].labels)
    # A class all of whose images are bad must be reported too, not silently lost.
    classes = sorted(counts.keys() | {label for annotation in annotations.values() for label in annotation.labels})
    _check_classes({name: counts[name] for name in classes})
    entries = _build_entries(files, annotations, classes)
    splits.check_splits(entries, classes)
    return ValidatedDataset(
        entries=entries,
        classes=[{"name": name, "count": counts[name]} for name in classes],
        task="multi_label" if any(len(entry.labels) > 1 for entry in entries) else "single_label",
        digest=_compute_digest(entries, classes),
        report={
            "files": len(files) + len(skipped),
            "accepted": len(files),
            "counts": dict(Counter(one.code for one in skipped)),
            "skipped": [{"file": one.file, "code": one.code, "message": one.message} for one in skipped[:MAX_REPORTED]],
        },
    )


def _build_entries(files: Sequence[_File], annotations: Annotations, classes: Sequence[str]) -> list[Entry]:
    index = {name: position for position, name in enumerate(classes)}
    return [
        Entry(
            digest=file.digest,
            offset=file.offset,
            length=file.length,
            width=file.width,
            height=file.height,
            labels=tuple(index[label] for label in annotations[file.path].labels),
            split=annotations[file.path].split,
            name=str(file.path),
        )
        for file in files
    ]


def _check_classes(counts: dict[str, int]) -> None:
    if len(counts) < 2:
        raise DatasetRejected(
            "too_few_classes",
            f"The only class is {', '.join(counts)}. Put the images of at least two classes in one folder each.",
        )
    small = [f"{name} has {count}" for name, count in counts.items() if count < MIN_IMAGES_PER_CLASS]
    if small:
        raise DatasetRejected(
            "class_too_small",
            f"Every class needs at least {MIN_IMAGES_PER_CLASS} good images, but {join_names(small)}. "
            "Add images to the class, or leave it out.",
        )


def _compute_digest(entries: Sequence[Entry], classes: Sequence[str]) -> str:
    lines = sorted(
        f"{entry.digest.hex()} {'|'.join(classes[label] for label in entry.labels)} {entry.split}\n"
        for entry in entries
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
