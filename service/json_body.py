"""JSON bodies of requests: read whatever their content type and encoding say, and refused in the sender's words."""

from __future__ import annotations

import json
import re
from email.message import Message
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import content_encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

MAX_BYTES = 1 << 20
"""Largest body that is not an upload."""
HOW = 'as in: curl URL --json \'{"dataset": "ds_…", "backbone": "timm/…"}\''
FORM = re.compile(r"\s*[\w.%\[\]-]+=")
NEAR = 20
"""Characters that are shown on both sides of an error."""

BINARY = {
    b"PK\x03\x04": "a .zip; POST /v1/datasets takes archives",
    b"\x1f\x8b": "compressed; say so by the header Content-Encoding: gzip, or send plain JSON",
}
"""Beginnings of bodies that are no text, with what they are."""

MISTAKES = (
    (r".*", r"\Z", "the text ends too early: a brace or a bracket is not closed"),
    (r"Unterminated string", r"", "a quotation mark is not closed"),
    (r".*", r"[“”„‟«»]", 'quotation marks are straight, as in "epochs"'),
    (r"Expecting (value|property)", r"'", "text is written in double quotes, not in single ones"),
    (r"Expecting value", r"True|False", "true and false are written with small letters"),
    (r"Expecting value", r"None|undefined|nil|NULL", "no value is written null"),
    (r"Expecting (value|property)", r"[A-Za-z_]", "a name or a text has no double quotes around it"),
    (r".*", r"//|/\*|#", "JSON has no comments"),
    (r"Expecting ','", r'["\w{\[-]', "a comma is missing before this"),
    (r"Expecting ':'", r"", "a colon is missing after the name"),
    (r"Extra data", r"", "this comes after the end of the JSON"),
    (r"Invalid control character", r"", r"a line break or a tab stands inside quotes; they are written \n and \t"),
    (r"Invalid \\", r"", r"a backslash inside quotes is written \\"),
)
"""Mistakes, each as a pattern of what Python's parser says and one of the text from there on, with an explanation."""


class JsonRoute(APIRoute):
    """A route whose body is JSON, even where the content type does not say so: `curl -d` calls it a form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Parse the body before FastAPI does."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def parse_and_handle(request: Request) -> Response:
            try:
                body = await request.body()
            except ClientDisconnect:
                raise HTTPException(400, "The connection ended before the body did. Send it again.") from None
            return await handle(_ParsedRequest(request, body, parse(request, body)))

        return parse_and_handle


class _ParsedRequest(Request):
    """A request with the JSON of its body, and a content type that says so."""

    def __init__(self, request: Request, body: bytes, value: dict[str, Any]) -> None:
        headers = [(name, content) for name, content in request.scope["headers"] if name != b"content-type"]
        super().__init__({**request.scope, "headers": [*headers, (b"content-type", b"application/json")]})
        self._body, self._value = body, value

    async def json(self) -> dict[str, Any]:
        return self._value


def parse(request: Request, body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object. Raises RequestValidationError, which says where it is malformed."""
    if not body:
        raise _refuse(f"the request has no body; send JSON, {HOW}")
    value = _load(_decode(request, content_encoding.decode_all(request.headers, body, MAX_BYTES)))
    if not isinstance(value, dict):
        raise _refuse("the body must be a JSON object, in braces { }")
    for path, text in _find_texts(value):
        _check_text(path, text)
    return value


def _decode(request: Request, body: bytes) -> str:
    """Decode the text of a body: UTF-8, UTF-16 and UTF-32 are told apart by their first bytes."""
    for start, what in BINARY.items():
        if body.startswith(start):
            raise _refuse(f"the body is no JSON, but {what}")
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_maintype() == "multipart":
        raise _refuse(f"the body is a form (curl -F); send JSON, {HOW}")
    try:
        return body.decode(header.get_content_charset() or json.detect_encoding(body))
    except LookupError:
        raise _refuse(f"the charset {header.get_content_charset()} is unknown; send JSON in UTF-8") from None
    except UnicodeDecodeError as error:
        byte = f"0x{body[error.start]:02X}"
        raise _refuse(f"byte {error.start + 1} of the body ({byte}) is no UTF-8; send JSON in UTF-8") from None


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_build_object)
    except json.JSONDecodeError as error:
        raise _refuse(_explain(text, error)) from None
    except RecursionError:
        raise _refuse("the JSON is nested too deeply") from None
    except ValueError:  # Python's limit on digits
        raise _refuse("a number has thousands of digits") from None


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refuse(f'"{twice[:100]}" stands twice in one object; only one of the two can hold')
    return built


def _explain(text: str, error: json.JSONDecodeError) -> str:
    if FORM.match(text):
        return f"the body is a form (name=value), not JSON; send JSON, {HOW}"
    place = f"line {error.lineno}, column {error.colno}"
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    near = " ".join(f"{before[-NEAR:]}{rest[:NEAR]}".split())
    if re.match(r",\s*[}\]]", rest) or (before.endswith(",") and rest.startswith(("}", "]"))):
        return f"{place}: a comma with nothing after it, near: {near}"
    for says, found, mistake in MISTAKES:
        if re.match(says, error.msg) and re.match(found, rest):
            return f"{place}: {mistake}, near: {near}"
    return f"{place}: {error.msg}, near: {near}"


def _find_texts(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find every text in a JSON value, names included, each with its path."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while pending:
        path, found = pending.pop()
        if isinstance(found, str):
            yield path, found
        if isinstance(found, list):
            pending += [((*path, index), item) for index, item in enumerate(found)]
        if isinstance(found, dict):
            for name, item in found.items():
                yield path, name
                pending.append(((*path, name), item))


def _check_text(path: tuple[str | int, ...], text: str) -> None:
    """Refuse characters that no database stores."""
    if "\0" in text:
        raise _refuse(r"a text has a NUL character (\u0000); remove it", path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise _refuse(f"a text has {half} alone, half of a surrogate pair, which is no character", path) from None


def _refuse(message: str, path: tuple[str | int, ...] = ()) -> RequestValidationError:
    return RequestValidationError([{"type": "json_invalid", "loc": ("body", *path), "msg": message, "input": None}])
