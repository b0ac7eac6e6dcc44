"""Validation: one pass over an archive, each file looked at, the good images packed, the others reported."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from models.datasets import layout, names, splits
from models.datasets.archives.reader import Limits, members
from models.datasets.errors import DatasetRejected, some_of
from models.datasets.pack import Entry
from models.images import decode
from models.runtime.context import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from concurrent.futures import Future

    from models.catalog.losses import Task

LOOKAHEAD = 16
"""Images that are decoded side by side: bounds memory."""
MOST_BAD = 0.2
LEAST_IMAGES = 2
"""Of a class: one to train on, one to validate on."""
MOST_REPORTED = 1000
KEPT_FIRST = {"test": 0, "validation": 1, "train": 2, "": 3}
"""Of copies of an image in several splits the foremost is kept: what is tested on must not be trained on."""
NO_CLASS = "The file stands in no class folder."
MISSING_FILE = f"{layout.TABLE} names it, but the archive lacks it."

Places = Mapping[PurePosixPath, layout.Place]


@dataclass(frozen=True)
class Validated:
    """A dataset that can be trained on."""

    entries: list[Entry]
    classes: list[dict[str, Any]]
    """name and count of each class, by name."""
    task: Task
    """single_label or multi_label."""
    digest: str
    """SHA-256, in hex, of all images with their labels and splits, in whatever order."""
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
    """Copies, scripts and notes do a dataset no harm."""


@dataclass
class _Survey:
    files: list[_File] = field(default_factory=list)
    table: tuple[PurePosixPath, bytes] | None = None


def validate(
    archive: IO[bytes], pack: IO[bytes], limits: Limits, heartbeat: Callable[[], None] = no_heartbeat
) -> Validated:
    """Look at every file of the archive (seekable), and write the good images to `pack`.

    As the archive is read once, images are written before it is known whether they are accepted: the pack holds
    those without a class or under several too, at most a fifth of all, which no entry names.

    Raises DatasetRejected.
    """
    survey = _survey(archive, pack, limits, heartbeat)
    foreign = _foreign(survey)
    _check_any([file for file in survey.files if file.path not in foreign])
    arranged = _arrange(survey)
    placed = [file for file in survey.files if file.path in arranged.places]
    accepted = _without_copies(placed, arranged.places)
    skipped = [
        *_problems(placed, foreign),
        *(_Skipped(str(path), "no_class", NO_CLASS) for path in _placeless(survey, arranged)),
        *(_Skipped(name, "missing_file", MISSING_FILE) for name in arranged.absent),
    ]
    _check_bad(len(accepted), skipped)
    places = {path: place for path, place in arranged.places.items() if path not in foreign}
    return _validated(accepted, places, skipped)


def _survey(archive: IO[bytes], pack: IO[bytes], limits: Limits, heartbeat: Callable[[], None]) -> _Survey:
    """Read all files, write each image to the pack once."""
    survey = _Survey()
    written: dict[bytes, tuple[int, int]] = {}
    end = 0
    for file, data in _looked_at(archive, limits, survey, heartbeat):
        survey.files.append(file)
        if file.problem:
            continue
        if file.digest not in written:
            pack.write(data)
            written[file.digest] = (end, len(data))
            end += len(data)
        file.offset, file.length = written[file.digest]
    return survey


def _looked_at(
    archive: IO[bytes], limits: Limits, survey: _Survey, heartbeat: Callable[[], None]
) -> Iterator[tuple[_File, bytes]]:
    """Each file with its bytes, in the archive's order; Pillow frees the interpreter, so threads use all cores."""
    ahead: deque[tuple[Future[_File], bytes]] = deque()
    with ThreadPoolExecutor(thread_name_prefix="decode") as threads:
        for member in members(archive, limits):
            heartbeat()
            data = member.read()
            if layout.is_table(member.path):
                _keep_table(survey, member.path, data)
                continue
            ahead.append((threads.submit(_look, member.path, data), data))
            if len(ahead) > LOOKAHEAD:
                future, data = ahead.popleft()
                yield future.result(), data
        for future, data in ahead:
            yield future.result(), data


def _keep_table(survey: _Survey, path: PurePosixPath, data: bytes) -> None:
    if survey.table is not None:
        raise DatasetRejected(
            "labels_ambiguous",
            f"Both {survey.table[0]} and {path} give labels. Join them into one, with paths relative to it.",
        )
    survey.table = (path, data)


def _look(path: PurePosixPath, data: bytes) -> _File:
    try:
        image = decode.decode(data)
    except decode.BadImage as problem:
        return _File(path, problem=(problem.code, str(problem)))
    return _File(path, decode.digest(image), image.width, image.height)


def _arrange(survey: _Survey) -> layout.Layout:
    paths = [file.path for file in survey.files]
    if survey.table is not None:
        return layout.by_table(paths, *survey.table)
    return layout.by_folders(paths, [file.path for file in survey.files if not file.problem])


def _foreign(survey: _Survey) -> set[PurePosixPath]:
    """Files that nobody calls an image: neither labels.csv, nor their suffix, nor their bytes."""
    if survey.table is not None:
        return set()
    return {
        file.path
        for file in survey.files
        if file.problem and file.problem[0] in {"not_an_image", "empty_file"} and not names.is_image(file.path)
    }


def _problems(files: Sequence[_File], foreign: AbstractSet[PurePosixPath]) -> list[_Skipped]:
    """The files that have one."""
    return [
        _Skipped(str(file.path), *file.problem, file.path not in foreign and file.problem[0] != "duplicate")
        for file in files
        if file.problem
    ]


def _placeless(survey: _Survey, arranged: layout.Layout) -> list[PurePosixPath]:
    """Images without a class; other files without one (a README, a licence) are nobody's business."""
    unlisted = set(arranged.unlisted)
    return [file.path for file in survey.files if file.path in unlisted and not file.problem]


def _without_copies(files: list[_File], places: Places) -> list[_File]:
    """The good images, each once; marks copies, and images that stand under different labels."""
    copies: dict[bytes, list[_File]] = {}
    for file in files:
        if not file.problem:
            copies.setdefault(file.digest, []).append(file)
    kept = []
    for group in copies.values():
        if len({places[file.path].labels for file in group}) > 1:
            labels = ", ".join(sorted({"|".join(places[file.path].labels) for file in group}))
            for file in group:
                file.problem = ("label_conflict", f"The same image stands under {labels}.")
            continue
        first, *others = sorted(group, key=lambda file: KEPT_FIRST[places[file.path].split])
        kept.append(first)
        for file in others:
            file.problem = ("duplicate", f"The same image as {first.path}.")
    return kept


def _check_any(files: Sequence[_File]) -> None:
    if not files:
        raise DatasetRejected("no_images", "No file of the archive is an image. Put JPEG or PNG files in it.")
    bad = _problems(files, frozenset())
    if len(bad) == len(files):
        raise DatasetRejected("no_images", f"None of the archive's {len(bad)} images can be used {_said(bad)}")


def _check_bad(accepted: int, skipped: Sequence[_Skipped]) -> None:
    bad = [one for one in skipped if one.is_damage]
    total = accepted + len(bad)
    if len(bad) > MOST_BAD * total:
        raise DatasetRejected(
            "too_many_bad_files",
            f"{len(bad)} of {total} files cannot be used, at most {MOST_BAD:.0%} may {_said(bad)}",
        )


def _said(bad: Sequence[_Skipped]) -> str:
    """Why so many are bad, in words."""
    causes = ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in bad).most_common())
    return f"({causes}). First: {bad[0].file}: {bad[0].message}"


def _validated(files: list[_File], places: Places, skipped: Sequence[_Skipped]) -> Validated:
    counts = Counter(label for file in files for label in places[file.path].labels)
    # A class all of whose images are bad must be named too, not silently lost.
    classes = sorted(counts.keys() | {label for place in places.values() for label in place.labels})
    _check_classes({name: counts[name] for name in classes})
    entries = _entries(files, places, classes)
    splits.check(entries, classes)
    return Validated(
        entries=entries,
        classes=[{"name": name, "count": counts[name]} for name in classes],
        task="multi_label" if any(len(entry.labels) > 1 for entry in entries) else "single_label",
        digest=_digest(entries, classes),
        report={
            "files": len(files) + len(skipped),
            "accepted": len(files),
            "counts": dict(Counter(one.code for one in skipped)),
            "skipped": [
                {"file": one.file, "code": one.code, "message": one.message} for one in skipped[:MOST_REPORTED]
            ],
        },
    )


def _entries(files: Sequence[_File], places: Places, classes: Sequence[str]) -> list[Entry]:
    number = {name: index for index, name in enumerate(classes)}
    return [
        Entry(
            digest=file.digest,
            offset=file.offset,
            length=file.length,
            width=file.width,
            height=file.height,
            labels=tuple(number[label] for label in places[file.path].labels),
            split=places[file.path].split,
            name=str(file.path),
        )
        for file in files
    ]


def _check_classes(counts: dict[str, int]) -> None:
    if len(counts) < 2:
        raise DatasetRejected(
            "too_few_classes",
            f"The only class is {', '.join(counts)}. Put the images of at least two classes in a folder each.",
        )
    small = [f"{name} has {count}" for name, count in counts.items() if count < LEAST_IMAGES]
    if small:
        raise DatasetRejected(
            "class_too_small",
            f"Every class needs at least {LEAST_IMAGES} good images, but {some_of(small)}. Add images or leave it out.",
        )


def _digest(entries: Sequence[Entry], classes: Sequence[str]) -> str:
    lines = sorted(
        f"{entry.digest.hex()} {'|'.join(classes[label] for label in entry.labels)} {entry.split}\n"
        for entry in entries
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
