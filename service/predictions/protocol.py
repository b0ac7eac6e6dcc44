"""Message from the API to a predictor: the length of a header, the header (JSON), and the images' files, one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_HEADER = "x-graft-secret"  # noqa: S105  # the name of a header
PATH, SALIENCY_PATH, NEAREST_PATH = "/predict", "/saliency", "/nearest"
CLASS_HEADER = "x-graft-class"
"""Header with the name of the class that a saliency map explains, percent-encoded."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model by the name that was asked for, and the checkpoint that it stands for."""

    model: str
    checkpoint: str


@dataclass(frozen=True)
class SentImage:
    """An image of a request: its file is in the message, or it is one of a dataset's."""

    name: str | None
    bytes: int = 0
    """Length of its file in the message."""
    dataset: str | None = None
    digest: str | None = None
    """Of an image of the dataset, in hex."""
    error: dict[str, str] | None = None
    """Code and message of an image that the API could not read."""


@dataclass(frozen=True)
class Question:
    """Models, images, and what is asked about them."""

    models: Sequence[NamedModel]
    images: Sequence[SentImage]
    top_k: int
    coverage: float
    is_alone: bool
    """Whether an image that cannot be opened is the error of the whole request."""


def encode(question: Question, files: Sequence[bytes]) -> bytes:
    """Encode a message."""
    facts = {
        "models": [[named.model, named.checkpoint] for named in question.models],
        "images": [vars(image) for image in question.images],
        "top_k": question.top_k,
        "coverage": question.coverage,
        "is_alone": question.is_alone,
    }
    header = json.dumps(facts).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *files])


def decode(message: bytes) -> tuple[Question, list[bytes]]:
    """Decode a message: the question, and the file of each image, empty for those of datasets."""
    place = 8 + int.from_bytes(message[:8], "little")
    header = json.loads(message[8:place])
    models = [NamedModel(*named) for named in header.pop("models")]
    images = [SentImage(**image) for image in header.pop("images")]
    files = []
    for image in images:
        files.append(message[place : place + image.bytes])
        place += image.bytes
    return Question(models, images, **header), files


def read_problem(content: bytes) -> dict[str, str] | None:
    """Read the code and the detail of a predictor's error; None of one that it did not foresee."""
    try:
        problem = json.loads(content)
        return {"code": problem["code"], "detail": problem["detail"]}
    except (ValueError, KeyError, TypeError):
        return None
