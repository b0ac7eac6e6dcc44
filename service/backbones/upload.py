"""Uploads of backbones and what requests say about them: files that are surely no network are refused at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.backbones.errors import BackboneFileTooLarge, NotABackbone
from service.backbones.options import FACTS, FIELD_BYTES, SAMPLES, ImportOptions
from service.backbones.schemas import BackboneCreate
from service.uploads.errors import EmptyBody
from service.uploads.form import FormShape, parse_name
from service.uploads.receiving import Expected, Received, receive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request

    from service.storage import Storage

Options = TypeVar("Options", bound=ImportOptions)

HOW = "as in: curl -X POST -T model.onnx URL"
SEVERAL = "A network whose files are several is sent as one archive of them."
FORM = FormShape(
    how="as in: curl -F file=@model.onnx -F samples=@samples.zip URL",
    fields=FIELD_BYTES,
    files=("file", "samples"),
    several=SEVERAL,
)
LATER_FORM = FormShape(
    how="as in: curl -F samples=@samples.zip URL",
    fields={name: FIELD_BYTES[name] for name in ("architecture", "preprocessing", "labels")},
    files=("samples",),
    is_file_required=False,
    several=SEVERAL,
)
"""A form with what an import lacked."""
WRONG_FILES = (
    (rb"PNG|\xff\xd8\xff|GIF8|\x89PNG|RIFF....WEBP", "an image", "Send the network's file."),
    (
        rb"\s*<(!doctype html|html|head|\?xml)",
        "a web page or XML",
        "Such a page is what a download link gives instead of the file, to people who are not signed in. Download the "
        "network's file itself, and send that.",
    ),
    (
        rb"version https://git-lfs",
        "a pointer of Git LFS",
        "It stands for the file in a repository. Get the file itself by `git lfs pull`, and send that.",
    ),
    (
        rb"BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07",
        "an archive that is not read here",
        "Pack the network's folder as .zip, .tar or .tar.gz.",
    ),
    (rb"%PDF", "a document", "Send the network's file."),
    (
        rb'\s*\{\s*"(uri|url|source|name|architecture|file)"',
        "JSON",
        "Graft fetches nothing from other addresses. Send the bytes of the network's file, by POST /v1/uploads, or "
        f"{HOW}",
    ),
)
"""Beginnings of files that hold no network: a pattern, what it is, and what to do."""


async def receive_backbone(request: Request, storage: Storage, keys: Mapping[str, str], limit: int) -> Received:
    """Stream a network's file, and samples if a form has them, to the storage.

    Raises BackboneFileTooLarge, EmptyBody, FormMalformed, NotABackbone, UploadCutOff.
    """
    return await receive(request, storage, keys, _expect(FORM, limit))


async def receive_samples(request: Request, storage: Storage, key: str, limit: int) -> Received:
    """Stream the samples of a form with what an import lacked to the storage. Raises as `receive_backbone`."""
    return await receive(request, storage, {"samples": key}, _expect(LATER_FORM, limit))


def choose_name(name: str, received: Received) -> str:
    """Choose the backbone's name for people: as it is given, or as the file is called. Raises FormMalformed."""
    return name or parse_name(received.fields) or clean_name(received.file_names.get("file", ""))


def clean_name(file_name: str) -> str:
    """Make a name for people, one line of text, of a file's."""
    return "".join(character if character.isprintable() else " " for character in file_name)[:255]


def parse_options(query: Mapping[str, str | None], fields: Mapping[str, str]) -> ImportOptions:
    """Parse the options of an upload; the query counts before the form. Raises RequestValidationError."""
    names = [name for name in ImportOptions.model_fields if query.get(name) or fields.get(name)]
    given = {name: query.get(name) or fields[name] for name in names}
    return _validate(given, {name: "query" if query.get(name) else "form" for name in names}, ImportOptions)


def require_answer(options: ImportOptions, *, has_samples: bool) -> None:
    """Check that an answer says something. Raises RequestValidationError."""
    if not has_samples and not options.model_dump(exclude_none=True):
        message = 'says nothing; send what the import asked for, such as {"preprocessing": {"mean": [0.5, 0.5, 0.5]}}'
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": message, "input": None}])


def parse_answer(body: dict[str, Any]) -> ImportOptions:
    """Parse the JSON of an answer to an import that lacked something. Raises RequestValidationError."""
    return _validate(body, {}, ImportOptions)


def parse_creation(body: dict[str, Any]) -> BackboneCreate:
    """Parse the JSON of a request to import a resumable upload. Raises RequestValidationError."""
    return _validate(body, {}, BackboneCreate)


def check_size(size: int, limit: int) -> None:
    """Check that a backbone's file is not too large. Raises BackboneFileTooLarge."""
    if size > limit:
        raise _build_too_large(limit)


def check_start(start: bytes) -> None:
    """Check the first bytes of a network's file. Raises EmptyBody, NotABackbone."""
    _check_start(FORM.files[0], start)


def _validate(given: dict[str, Any], places: Mapping[str, str], model: type[Options]) -> Options:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        for found in errors:
            field, *rest = found["loc"]
            inside = (part for part in rest if part not in (FACTS, SAMPLES))  # names of the union's branches
            found["loc"] = (places.get(str(field), "body"), field, *inside)
        raise RequestValidationError(errors) from None


def _expect(form: FormShape, limit: int) -> Expected:
    stripped = NotABackbone(f"Line breaks were taken out of the file, as curl -d does. Send it whole, {HOW}")
    return Expected(form, limit, _build_too_large(limit), stripped, _check_start)


def _build_too_large(limit: int) -> BackboneFileTooLarge:
    return BackboneFileTooLarge(f"The upload has more than {limit} bytes, the limit here (GRAFT_MAX_BACKBONE_BYTES).")


def _check_start(name: str, start: bytes) -> None:
    if name == "samples":
        if not start.startswith(b"PK\x03\x04"):
            raise NotABackbone("The samples are no .zip. Pack images in a folder for each class that is expected.")
        return
    if not start:
        raise EmptyBody(f"The request has no body. Send the bytes of the network's file, {HOW}")
    for pattern, what, advice in WRONG_FILES:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            raise NotABackbone(f"The body is {what}. {advice}")
