"""Find which folders of an archive are its splits and its classes.

The level of the classes is the first level of folders, from the top, that is none of these: a single folder around all
others; splits, whatever their spelling; folders for images beside folders for other things (`images/`, `docs/`);
folders that all hold the same folders (`camera1/`, `camera2/`). What was decided is said in notes, for the report.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from models.datasets.errors import DatasetRejected, join_names
from models.datasets.folder_names import are_numbers, are_parts, is_auxiliary, is_container, is_no_class
from models.datasets.names import find_alike, show
from models.datasets.split_names import TRAIN, describe_splits, parse_split, parse_splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

MAX_STRAY_SHARE = 0.2
"""Share of images directly in a folder up to which its other images are in classes below."""
MIN_SHARED = 0.75
"""Share of all names of folders that each folder of a level has, from which the level is not that of the classes."""

MAX_DEPTH = 16
"""Levels of folders that are looked at."""

Prefix = tuple[str, ...]


@dataclass(slots=True)
class Folder:
    """A folder with images in it or below."""

    path: Prefix
    images: int = 0
    """Images directly in it."""
    total: int = 0
    """Images in it and below."""
    children: dict[str, Folder] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path[-1] if self.path else ""

    def list_kept(self) -> list[Folder]:
        """List its folders, without auxiliary ones where others are left."""
        kept = [child for child in self.children.values() if not is_auxiliary(child.name)]
        return kept or list(self.children.values())


@dataclass
class FolderLabels:
    """Labels and splits by folder, and how they were found."""

    labels: dict[Prefix, tuple[str, str] | None] = field(default_factory=dict)
    """Class and split of the files in a folder and below; None: no part of a class. The longest prefix counts."""
    notes: list[str] = field(default_factory=list)
    """Decisions, for the report."""

    def find(self, path: PurePosixPath) -> tuple[str, str] | None:
        """Find the class and the split of a file."""
        for length in range(min(len(path.parts) - 1, MAX_DEPTH), 0, -1):
            if path.parts[:length] in self.labels:
                return self.labels[path.parts[:length]]
        return None

    @property
    def classes(self) -> set[str]:
        """The names of the classes."""
        return {found[0] for found in self.labels.values() if found is not None}


def build_tree(images: Iterable[PurePosixPath]) -> Folder:
    """Build the tree of the folders of images."""
    root = Folder(())
    for path in images:
        folder = root
        folder.total += 1
        for part in path.parts[:-1][:MAX_DEPTH]:
            if part not in folder.children:
                folder.children[part] = Folder((*folder.path, part))
            folder = folder.children[part]
            folder.total += 1
        folder.images += 1
    return root


def read_folders(images: Sequence[PurePosixPath]) -> FolderLabels:
    """Find the classes and the splits of these images; raises DatasetRejected where there are none."""
    found = FolderLabels()
    top = _unwrap(build_tree(images), found.notes)
    splits = _find_splits(top)
    if splits:
        _read_splits(top, splits, found)
    else:
        _check_nested_splits(top)
        found.labels = _read_classes(top, "", found.notes)
    if len(found.classes) < 2:
        _reject_flat(top, splits, found, images)
    _check_names(found)
    return found


def _unwrap(folder: Folder, notes: list[str]) -> Folder:
    """Follow folders around all others; strays beside them are no part of a class."""
    while True:
        kept = folder.list_kept()
        containers = [child for child in kept if is_container(child.name) and len(child.children) > 1]
        inner = kept if len(kept) == 1 else containers
        if len(inner) != 1 or not inner[0].children or inner[0].images > MAX_STRAY_SHARE * inner[0].total:
            break
        if parse_splits(folder.children) and _find_splits(folder):
            break
        if len(folder.children) > 1:
            others = sorted(f"{name}/" for name in folder.children if name != inner[0].name)
            notes.append(f"only the images below {inner[0].name}/ are used, not those of {join_names(others)}")
        folder = inner[0]
    return folder


def _find_splits(folder: Folder) -> dict[str, str]:
    """Find which folders are splits: several different ones, or one for training that has most images, in folders."""
    splits = parse_splits(folder.children)
    if splits and TRAIN not in splits.values():
        splits |= _find_training_folder(folder, splits)
    if len(set(splits.values())) > 1:
        return splits
    with_folders = sum(folder.children[name].total for name in splits if folder.children[name].children)
    is_alone = set(splits.values()) == {TRAIN} and 2 * with_folders > folder.total and len(folder.children) > 1
    return splits if is_alone else {}


def _find_training_folder(folder: Folder, splits: Mapping[str, str]) -> dict[str, str]:
    """Find the one folder that holds all folders of the other splits: it is for training, whatever its name."""
    classes = {name for split in splits for name in folder.children[split].children}
    others = [child for child in folder.list_kept() if child.name not in splits and classes]
    return {others[0].name: TRAIN} if len(others) == 1 and classes <= others[0].children.keys() else {}


def _read_splits(top: Folder, splits: Mapping[str, str], found: FolderLabels) -> None:
    found.notes.append(f"splits are the folders {describe_splits(splits)}")
    trained: set[str] = set()
    # Training first: only it tells what a class is called.
    for name in sorted(splits, key=lambda name: (splits[name] != TRAIN, name)):
        notes: list[str] = []
        labels = _read_classes(_unwrap(top.children[name], notes), splits[name], notes)
        if splits[name] == TRAIN:
            found.notes += notes
            trained |= {label[0] for label in labels.values() if label is not None}
        unknown = {
            prefix for prefix, label in labels.items() if label and label[0] not in trained and is_no_class(label[0])
        }
        found.labels |= {prefix: None if prefix in unknown else label for prefix, label in labels.items()}
        if not any(label for prefix, label in labels.items() if prefix not in unknown):
            found.notes.append(f"the images of {name}/ have no class folders and are not used")
    others = sorted(f"{name}/" for name in top.children if name not in splits)
    if others:
        found.notes.append(f"{join_names(others)} beside the splits {'is' if len(others) == 1 else 'are'} not used")


def _check_nested_splits(top: Folder) -> None:
    """Raise DatasetRejected if some folders have splits with classes in them: which of them is the dataset?"""
    inner = {child.name: _unwrap(child, []) for child in top.list_kept()}
    nested = [
        name for name, folder in inner.items() if any(folder.children[split].children for split in _find_splits(folder))
    ]
    if nested:
        others = join_names(sorted(set(top.children) - {nested[0]}))
        raise DatasetRejected(
            "class_folders_unclear",
            f"It is unclear which folders are the classes: {nested[0]}/ has splits with folders in it, but {others} is "
            "beside it. Send one of them.",
        )


def _read_classes(folder: Folder, split: str, notes: list[str]) -> dict[Prefix, tuple[str, str] | None]:
    """Find the classes of a split, or of a dataset without splits."""
    kept = folder.list_kept()
    if _are_classes_around_splits(kept):
        notes.append(f"classes are the folders {_list_folders(kept)}; the folders in each are splits")
        return {
            child.path: (outer.name, parse_split(child.name) or "") for outer in kept for child in outer.list_kept()
        }
    if _share_folders(kept):
        notes.append(f"classes are the folders below {_list_folders(kept)}, which hold the same folders")
        return {
            prefix: label for child in kept for prefix, label in _read_classes(_unwrap(child, []), split, []).items()
        }
    kept = _drop_auxiliary(folder, notes)
    below = f" below {show('/'.join(folder.path), 255)}/" if folder.path else ""
    notes.append(f"classes are the folders{below}: {_list_folders(kept)}")
    labels: dict[Prefix, tuple[str, str] | None] = {child.path: (child.name, split) for child in kept}
    for child in kept:
        labels |= _exclude_masks(child)
    return labels


def _exclude_masks(folder: Folder) -> dict[Prefix, tuple[str, str] | None]:
    """Exclude auxiliary folders beside a folder of images in a class: `cat/images/`, `cat/masks/`."""
    if not any(map(is_container, folder.children)):
        return {}
    return {child.path: None for name, child in folder.children.items() if is_auxiliary(name)}


def _drop_auxiliary(folder: Folder, notes: list[str]) -> list[Folder]:
    """List the classes; a folder with the name of an auxiliary one is a class if it is not the smallest."""
    kept = folder.list_kept()
    others = [child for child in folder.children.values() if child not in kept]
    least = min((child.total for child in kept), default=0)
    dropped = [child for child in others if child.total < least or len(kept) < 2]
    if dropped:
        notes.append(f"{_list_folders(dropped)} beside the classes: not used, by the name")
    return [child for child in folder.children.values() if child not in dropped]


def _are_classes_around_splits(folders: Sequence[Folder]) -> bool:
    """Tell whether each folder has splits in it: class/train/…, class/test/…"""
    return len(folders) > 1 and all(
        len(set(map(parse_split, folder.children))) > 1
        and None not in map(parse_split, folder.children)
        and not any(child.children for child in folder.children.values())
        for folder in folders
    )


def _share_folders(folders: Sequence[Folder]) -> bool:
    """Tell whether all folders hold largely the same folders, so that those are the classes."""
    inner = [_unwrap(folder, []) for folder in folders]
    names = Counter(child.name for folder in inner for child in folder.list_kept())
    if len(folders) < 2 or len(names) < 2 or any(map(is_container, names)):
        return False
    if any(folder.images > MAX_STRAY_SHARE * folder.total for folder in inner):
        return False
    outer = [folder.name for folder in folders]
    if are_parts(outer):  # patient1/cat/, patient2/dog/
        return min(names.values()) > 1 or names.total() >= MIN_SHARED * len(folders) * len(names)
    if are_parts(list(names)) or (are_numbers(list(names)) and not are_numbers(outer)):
        return False  # cat/patient1, dog/patient1; cat/2023, dog/2023: those above are the classes
    return names.total() >= MIN_SHARED * len(folders) * len(names)


def _reject_flat(
    top: Folder, splits: Mapping[str, str], found: FolderLabels, images: Sequence[PurePosixPath]
) -> NoReturn:
    """Raise DatasetRejected: there are no class folders, or one."""
    ways = (
        "Put the images of each class into a folder of its own, as in cat/1.jpg or train/cat/1.jpg, or add a "
        "labels.csv that begins with file,label and has a line such as images/1.jpg,cat for each file."
    )
    where = " and ".join(f"{name}/" for name in sorted(splits)) or show("/".join(top.path), 255) or "the archive"
    if named := _find_classes_in_names(images):
        raise DatasetRejected(
            "no_class_folders",
            f"There are no class folders in {where}. The names of the files may tell the classes "
            f"({join_names(sorted(named))}), but are not read. {ways}",
        )
    classes = sorted(found.classes)
    if classes and not splits and not is_no_class(classes[0]):
        raise DatasetRejected(
            "too_few_classes",
            f"The only class is {show(classes[0], 255)} ({'; '.join(found.notes)}). Put the images of at least two "
            "classes in one folder each.",
        )
    raise DatasetRejected("no_class_folders", f"There are no class folders in {where}. {ways}")


def _check_names(found: FolderLabels) -> None:
    """Refuse classes whose names are those of other folders, and note doubtful ones."""
    wrong = sorted(name for name in found.classes if is_container(name))
    if wrong:
        others = join_names(sorted(found.classes - set(wrong)))
        raise DatasetRejected(
            "class_folders_unclear",
            f"It is unclear which folders are the classes: {join_names(wrong)} stands beside {others}. Send only class "
            "folders in one folder, or rename what is a class.",
        )
    doubtful = sorted(name for name in found.classes if is_auxiliary(name) or parse_split(name))
    if doubtful:
        found.notes.append(f"{join_names(doubtful)} counts as a class in spite of the name")
    if alike := find_alike(found.classes):
        found.notes.append(f"the classes {join_names(alike)} differ in case, spaces or decimals alone")


def _find_classes_in_names(images: Sequence[PurePosixPath]) -> set[str]:
    """Find words before numbers in the names of files that may be classes: cat.0.png, dog_12.jpg."""
    words = Counter(
        match[1].lower() for path in images if (match := re.fullmatch(r"([^\W\d_][^\d.]*?)[ ._(-]*\d+\)?", path.stem))
    )
    is_likely = 2 <= len(words) <= 1000 and words.total() > len(images) / 2 and min(words.values()) > 1
    return set(words) if is_likely else set()


def _list_folders(folders: Sequence[Folder]) -> str:
    return join_names([show(folder.name, 100) for folder in folders])
