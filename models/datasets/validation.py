"""Validation: one pass over an archive, each file looked at, the good pictures packed, the others reported."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from models import images
from models.datasets import layout
from models.datasets.archive import Limits, members
from models.datasets.errors import DatasetRejected
from models.datasets.pack import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

LOOKAHEAD = 16
"""Pictures that are decoded side by side: bounds memory."""
MOST_BAD = 0.2
LEAST_IMAGES = 2
"""Of a class: one to train on, one to validate on."""
MOST_REPORTED = 1000
KEPT_FIRST = {"test": 0, "validation": 1, "train": 2, "": 3}
"""Of copies of a picture in several splits the foremost is kept: what is tested on must not be trained on."""
HARMLESS = {"duplicate"}
"""Codes of skipped files that speak of no damage."""


Places = Mapping[PurePosixPath, layout.Place]


@dataclass(frozen=True)
class Validated:
    """A dataset that can be trained on."""

    entries: list[Entry]
    classes: list[dict[str, Any]]
    """name and count of each class, by name."""
    task: str
    """single_label or multi_label."""
    digest: str
    """SHA-256, in hex, of all pictures with their labels and splits, in whatever order."""
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


@dataclass
class _Survey:
    files: list[_File] = field(default_factory=list)
    table: tuple[PurePosixPath, bytes] | None = None


def validate(archive: IO[bytes], pack: IO[bytes], limits: Limits) -> Validated:
    """Look at every file of the archive (seekable), and write the good pictures to `pack`.

    Raises DatasetRejected.
    """
    survey = _survey(archive, pack, limits)
    if all(file.problem for file in survey.files):
        raise DatasetRejected("no_images", "No file of the archive is a picture. Put JPEG or PNG files in it.")
    arranged = _arrange(survey)
    places = arranged.places
    accepted = _without_copies([file for file in survey.files if file.path in places], places)
    skipped = [
        *((str(file.path), *file.problem) for file in survey.files if file.path in places and file.problem),
        *((str(path), "no_class", "The file stands in no class folder.") for path in _placeless(survey, arranged)),
        *((name, "missing_file", f"{layout.TABLE} names it, but the archive lacks it.") for name in arranged.absent),
    ]
    _check_bad(len(accepted), skipped)
    return _validated(accepted, places, skipped)


def _survey(archive: IO[bytes], pack: IO[bytes], limits: Limits) -> _Survey:
    """Read all files, write each picture to the pack once."""
    survey = _Survey()
    written: dict[bytes, tuple[int, int]] = {}
    end = 0
    for file, data in _looked_at(archive, limits, survey):
        survey.files.append(file)
        if file.problem:
            continue
        if file.digest not in written:
            pack.write(data)
            written[file.digest] = (end, len(data))
            end += len(data)
        file.offset, file.length = written[file.digest]
    return survey


def _looked_at(archive: IO[bytes], limits: Limits, survey: _Survey) -> Iterator[tuple[_File, bytes]]:
    """Each file with its bytes, in the archive's order; Pillow frees the interpreter, so threads use all cores."""
    ahead: deque[tuple[Future[_File], bytes]] = deque()
    with ThreadPoolExecutor(thread_name_prefix="decode") as threads:
        for member in members(archive, limits):
            if layout.is_junk(member.path):
                continue
            data = member.read()
            if layout.is_table(member.path):
                survey.table = (member.path, data)
                continue
            ahead.append((threads.submit(_look, member.path, data), data))
            if len(ahead) > LOOKAHEAD:
                future, data = ahead.popleft()
                yield future.result(), data
        for future, data in ahead:
            yield future.result(), data


def _look(path: PurePosixPath, data: bytes) -> _File:
    try:
        image = images.decode(data)
    except images.BadPicture as problem:
        return _File(path, problem=(problem.code, str(problem)))
    return _File(path, images.digest(image), image.width, image.height)


def _arrange(survey: _Survey) -> layout.Layout:
    paths = [file.path for file in survey.files]
    if survey.table is not None:
        return layout.by_table(paths, *survey.table)
    return layout.by_folders(paths, [file.path for file in survey.files if not file.problem])


def _placeless(survey: _Survey, arranged: layout.Layout) -> list[PurePosixPath]:
    """Pictures without a class; other files without one (a README, a licence) are nobody's business."""
    unlisted = set(arranged.unlisted)
    return [file.path for file in survey.files if file.path in unlisted and not file.problem]


def _without_copies(files: list[_File], places: Places) -> list[_File]:
    """The good pictures, each once; marks copies, and pictures that stand under different labels."""
    copies: dict[bytes, list[_File]] = {}
    for file in files:
        if not file.problem:
            copies.setdefault(file.digest, []).append(file)
    kept = []
    for group in copies.values():
        if len({places[file.path].labels for file in group}) > 1:
            labels = ", ".join(sorted({"|".join(places[file.path].labels) for file in group}))
            for file in group:
                file.problem = ("label_conflict", f"The same picture stands under {labels}.")
            continue
        first, *others = sorted(group, key=lambda file: KEPT_FIRST[places[file.path].split])
        kept.append(first)
        for file in others:
            file.problem = ("duplicate", f"The same picture as {first.path}.")
    return kept


def _check_bad(accepted: int, skipped: Sequence[tuple[str, str, str]]) -> None:
    bad = Counter(code for _, code, _ in skipped if code not in HARMLESS)
    total = accepted + bad.total()
    if bad.total() > MOST_BAD * total:
        causes = ", ".join(f"{count} {code}" for code, count in bad.most_common())
        example = next(f"{file}: {message}" for file, code, message in skipped if code not in HARMLESS)
        raise DatasetRejected(
            "too_many_bad_files",
            f"{bad.total()} of {total} files cannot be used ({causes}); at most {MOST_BAD:.0%} may. First: {example}",
        )


def _validated(files: list[_File], places: Places, skipped: Sequence[tuple[str, str, str]]) -> Validated:
    counts = Counter(label for file in files for label in places[file.path].labels)
    # A class all of whose pictures are bad must be named too, not silently lost.
    names = sorted(counts.keys() | {label for place in places.values() for label in place.labels})
    _check_classes({name: counts[name] for name in names})
    number = {name: index for index, name in enumerate(names)}
    entries = [
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
    return Validated(
        entries=entries,
        classes=[{"name": name, "count": counts[name]} for name in names],
        task="multi_label" if any(len(entry.labels) > 1 for entry in entries) else "single_label",
        digest=_digest(entries, names),
        report={
            "files": len(files) + len(skipped),
            "accepted": len(files),
            "counts": dict(Counter(code for _, code, _ in skipped)),
            "skipped": [dict(zip(("file", "code", "message"), row, strict=True)) for row in skipped[:MOST_REPORTED]],
        },
    )


def _check_classes(counts: dict[str, int]) -> None:
    if len(counts) < 2:
        raise DatasetRejected(
            "too_few_classes",
            f"The only class is {', '.join(counts)}. Put the pictures of at least two classes in a folder each.",
        )
    small = [f"{name} has {count}" for name, count in counts.items() if count < LEAST_IMAGES]
    if small:
        raise DatasetRejected(
            "class_too_small",
            f"Every class needs at least {LEAST_IMAGES} good pictures, but {', '.join(small)}. "
            "Add pictures or leave it out.",
        )


def _digest(entries: list[Entry], names: list[str]) -> str:
    lines = sorted(
        f"{entry.digest.hex()} {'|'.join(names[label] for label in entry.labels)} {entry.split}\n" for entry in entries
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
