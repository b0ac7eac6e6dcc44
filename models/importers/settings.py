"""Settings beside the network in an uploaded archive: graft.json, samples and labels; the request's own count first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from models.catalog.preprocessing import GivenPreprocessing
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from models.importers.folders import Upload
    from models.importers.request import ImportRequest

MAX_BYTES = 16 << 20


class ArchiveSettings(BaseModel):
    """The content of graft.json."""

    model_config = ConfigDict(extra="forbid")

    architecture: str | None = None
    format: str | None = None
    preprocessing: GivenPreprocessing | None = None
    labels: list[str] | None = None


def complete_request(request: ImportRequest, upload: Upload) -> ImportRequest:
    """Complete a request by the graft.json beside the network; raises ImportRejected."""
    if upload.settings is None:
        return request
    try:
        if upload.settings.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        settings = ArchiveSettings.model_validate_json(upload.settings.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refuse(f"{where}: {first['msg']}") from error
    except ValueError as error:
        raise _refuse(str(error)) from error
    missing = {name: value for name, value in settings if getattr(request, name) is None}
    return request.model_copy(update=missing)


def _refuse(problem: str) -> ImportRejected:
    return ImportRejected(
        "settings_unusable",
        f"The archive's graft.json cannot be used ({problem}). It is a JSON object with architecture, format, "
        "preprocessing and labels, each of which may be left out.",
    )
