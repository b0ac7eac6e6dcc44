"""Types of fields in requests and responses: one line of text, keys of labels, tasks, digests, timestamps."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema


def _matching(pattern: str, requirement: str) -> AfterValidator:
    """Validate by a regular expression, with an error that people understand."""
    shape = re.compile(pattern)

    def check(text: str) -> str:
        if shape.search(text) is None:
            raise ValueError(requirement)
        return text

    return AfterValidator(check)


_TEXT = r"^[^\x00-\x1f\x7f]*\Z"
_KEY = r'^[^\x00-\x1f\x7f"\\]*\Z'
Text = Annotated[
    str,
    StringConstraints(max_length=255),
    _matching(_TEXT, "must be one line, without control characters such as tabs and line breaks"),
    Field(json_schema_extra={"pattern": _TEXT.replace(r"\Z", "$")}),
]
"""One line of text, without control characters; PostgreSQL stores no NUL."""
Key = Annotated[
    str,
    StringConstraints(max_length=255),
    _matching(_KEY, "a key must be one line, without control characters, double quotes and backslashes"),
    Field(json_schema_extra={"pattern": _KEY.replace(r"\Z", "$")}),
]
"""The key of one of the caller's labels. JSON paths quote keys with the characters that it excludes."""


class DescribedModel(BaseModel):
    """Base of JSON of the API: what stands below its fields is in the OpenAPI description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


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
