"""Types of fields in requests and responses: one line of text, keys of labels, tasks, digests, timestamps."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import PlainSerializer, StringConstraints, WithJsonSchema

Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text, without control characters; PostgreSQL stores no NUL."""
Key = Annotated[str, StringConstraints(max_length=255, pattern=r'^[^\x00-\x1f\x7f"\\]*$')]
"""The key of one of the caller's labels. JSON paths quote keys with the characters that it excludes."""

DatasetTask = Literal["single_label", "multi_label", "unlabelled"]
"""Labels of a dataset's images: one each, any number, or none at all."""


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Digest = Annotated[str, PlainSerializer(lambda digest: f"sha256:{digest}", return_type=str)]
"""SHA-256 in hex, written as sha256:… in JSON."""

Timestamp = Annotated[
    float,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Unix seconds that become a string such as 2026-11-24T12:00:00.000Z in JSON."""
