"""JSON bodies: taken however they are sent, and refused in the sender's words."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service import json_body
from tests.support.requests import assert_problem, build_job_request

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from starlette.types import Message

BODY = {"name": "Müller", "recipe": {"epochs": 3}}
TEXT = json.dumps(BODY, ensure_ascii=False)


def parse(body: bytes, **headers: str) -> Any:
    """Parse a body with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return json_body.parse(Request({"type": "http", "headers": raw}), body)


def refuse(body: bytes, **headers: str) -> str:
    """Give the reason why a body is refused."""
    with pytest.raises(RequestValidationError) as refused:
        parse(body, **headers)
    (error,) = refused.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (TEXT.encode(), {}),
        (TEXT.encode(), {"content_type": "application/x-www-form-urlencoded"}),
        (TEXT.encode(), {"content_type": "text/plain; charset=utf-8"}),
        (codecs.BOM_UTF8 + TEXT.encode(), {}),
        (TEXT.encode("utf-16"), {}),
        (TEXT.encode("utf-16-le"), {}),
        (TEXT.encode("utf-32"), {}),
        (TEXT.encode("latin-1"), {"content_type": "application/json; charset=iso-8859-1"}),
        (gzip.compress(TEXT.encode(), mtime=0), {"content_encoding": "gzip"}),
        (zlib.compress(TEXT.encode()), {"content_encoding": "deflate"}),
        (f"\n {TEXT}\r\n".encode(), {}),
    ],
)
def test_json_is_taken_however_it_is_sent(body: bytes, headers: dict[str, str]) -> None:
    assert parse(body, **headers) == BODY


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no body; send JSON"),
        (b'{"epochs": 3,}', "line 1, column 14: a comma with nothing after it, near: {"),
        (b'{"a": [1, 2,\n]}', "line 2, column 1: a comma with nothing after it"),
        (b'{"a": 1,,"b": 2}', "line 1, column 9"),
        (b'{"a": 1 "b": 2}', "line 1, column 9: a comma is missing before this"),
        (b'{"a" 1}', "line 1, column 6: a colon is missing after the name"),
        (b"{'a': 1}", "line 1, column 2: text is written in double quotes"),
        ("{“a”: 1}".encode(), "line 1, column 2: quotation marks are straight"),
        (b'{"a": True}', "true and false are written with small letters"),
        (b'{"a": None}', "no value is written null"),
        (b"{dataset: ds_x}", "line 1, column 2: a name or a text has no double quotes around it"),
        (b'{"a": 1 // comment\n}', "JSON has no comments"),
        (b'{"a": {"b": 1}', "the text ends too early"),
        (b'{"a": "b', "a quotation mark is not closed"),
        (b'{"a": "b\n"}', "a line break or a tab stands inside quotes"),
        (rb'{"a": "C:\x"}', "a backslash inside quotes is written"),
        (b'{"a": 1} {"b": 2}', "line 1, column 10: this comes after the end"),
        (b"dataset=ds_x&backbone=local/a", "the body is a form (name=value)"),
        (b"[1, 2]", "must be a JSON object, in braces"),
        (b'"{}"', "must be a JSON object, in braces"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', '"c" stands twice'),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "thousands of digits"),
        (b'{"a": "\xe4"}', "byte 8 of the body (0xE4) is no UTF-8"),
        (b"PK\x03\x04" + b"\0" * 100, "a .zip; POST /v1/datasets takes archives"),
        (gzip.compress(b"{}", mtime=0), "Content-Encoding: gzip"),
        (b'{"recipe": {"a": ["b", "\\ud800"]}}', "body.recipe.a.1: a text has \\ud800 alone"),
        (b'{"a": {"b\\udfff": 1}}', "body.a: a text has \\udfff alone"),
        (b'{"a": "b\\u0000"}', "body.a: a text has a NUL"),
        (b"\xff\xfe\x00\xd8", "UTF-8"),
    ],
)
def test_malformed_json_is_refused_in_the_senders_words(body: bytes, says: str) -> None:
    assert says in refuse(body)


def test_a_form_is_named(client: TestClient) -> None:
    response = client.post("/v1/jobs", files={"file": b"1"})
    assert_problem(response, 422, "invalid_request", "a form (curl -F)", "--json")


def test_an_unknown_charset_and_a_wrong_one_are_named() -> None:
    assert "charset klingon is unknown" in refuse(b"{}", content_type="application/json; charset=klingon")
    assert "no UTF-8" in refuse(b"\xe4", content_type="application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("body", "encoding", "status", "says"),
    [
        (b"{}", "gzip", 400, "says that the body is compressed, and it is not"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "gzip", 400, "ends too early"),
        (b"{}", "br", 415, "Content-Encoding br is not read"),
        (gzip.compress(bytes(json_body.MAX_BYTES + 1), mtime=0), "gzip", 413, "when it is decompressed"),
    ],
)
def test_a_body_that_cannot_be_decompressed_is_refused(body: bytes, encoding: str, status: int, says: str) -> None:
    with pytest.raises(HTTPException, match=says) as refused:
        parse(body, content_encoding=encoding)
    assert refused.value.status_code == status


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", None])
def test_a_job_is_created_whatever_the_content_type(client: TestClient, dataset: str, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    body = gzip.compress(json.dumps(build_job_request(dataset)).encode())
    response = client.post("/v1/jobs", content=body, headers={**headers, "content-encoding": "gzip"})
    assert response.status_code == 202, response.text


def test_a_message_with_half_a_surrogate_pair_is_sent(client: TestClient, dataset: str) -> None:
    body = json.dumps(build_job_request(dataset, **{"\ud800": 1}))
    assert_problem(client.post("/v1/jobs", content=body), 422, "invalid_request", "half of a surrogate pair")


def test_a_connection_that_ends_within_the_body_is_no_error_of_the_service(app: FastAPI, client: TestClient) -> None:
    incoming: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    answered: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }
    asyncio.run(app(scope, receive, send))
    assert answered[0]["status"] == 400
    assert b"connection ended" in answered[1]["body"]
