"""Recognize names of folders that are no classes: folders for images, for documentation, numbered parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models.datasets.names import simplify
from models.datasets.split_names import parse_split

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTAINERS = {
    "image", "images", "img", "imgs", "jpg", "jpgs", "jpeg", "jpegs", "jpegimages", "png", "pngs", "data", "dataset",
    "datasets", "files", "rgb", "input", "inputs", "original", "originals", "imagefolder", "pics",
}  # fmt: skip
"""Names of folders for images of any class: never classes."""
AUXILIARY = {
    "doc", "docs", "documentation", "preview", "previews", "sample", "samples", "example", "examples", "figure",
    "figures", "fig", "figs", "asset", "assets", "readme", "thumbnail", "thumbnails", "thumb", "thumbs", "mask",
    "masks", "segmentation", "segmentations", "annotation", "annotations", "label", "labels", "groundtruth", "gt",
    "result", "results", "output", "outputs", "prediction", "predictions", "pred", "plots", "demo", "logo", "logos",
    "screenshots", "backup", "tmp", "temp", "unlabeled", "unlabelled", "visualization", "visualizations", "notebooks",
}  # fmt: skip
"""Names of folders beside the classes: documentation, masks, previews."""
_CLASS_NUMBER = re.compile(r"(class|category|label|grade|type|level|stage)[\W_]*\d", re.IGNORECASE)


def are_parts(names: Sequence[str]) -> bool:
    """Tell whether names are dates, or one word with numbers or letters: fold1, fold2; camera_a, camera_b; 2023-11-30.

    Those of classes are none: class1, grade0.
    """
    if all(_CLASS_NUMBER.match(name) for name in names):
        return False
    if all(re.fullmatch(r"\d{4}[\W_]?\d\d([\d\W_]*)", name) for name in names):
        return True
    by_number = {re.sub(r"[\W_]*\d[\d\W_]*$", "", name.lower()) for name in names}
    by_letter = {re.sub(r"[\W_]*[a-z]$", "", name.lower()) for name in names}
    is_numbered = len(by_number) == 1 and all(name[-1].isdigit() for name in names) and by_number != {""}
    return is_numbered or (len(by_letter) == 1 and len(by_letter.pop()) > 2)


def are_numbers(names: Sequence[str]) -> bool:
    """Tell whether names are numbers alone: classes, or parts of them."""
    return all(name.isdigit() for name in names)


def is_container(name: str) -> bool:
    """Tell whether a name is that of folders for images of any class."""
    return simplify(name) in CONTAINERS


def is_auxiliary(name: str) -> bool:
    """Tell whether a name is that of folders beside the classes."""
    return simplify(name) in AUXILIARY


def is_no_class(name: str) -> bool:
    """Tell whether a name is none of a class: that of a split, or of folders for images or other things."""
    return is_container(name) or is_auxiliary(name) or parse_split(name) is not None
