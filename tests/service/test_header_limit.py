"""Headers without end are refused before they fill the memory."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
import uvicorn

from service.header_limit import MAX_BYTES, LimitedProtocol
from tests.support.servers import free_port
from tests.support.serving import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with the number of bytes of its body."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server with the protocol."""
    number = free_port()
    config = uvicorn.Config(answer, port=number, http=LimitedProtocol, log_level="error", lifespan="off")
    with running(uvicorn.Server(config)):
        yield number


def ask(port: int, *blocks: bytes) -> bytes:
    """Send blocks of bytes, as many as are taken, and read the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for block in blocks:
            try:
                connection.sendall(block)
            except OSError:
                break
        answer = b""
        try:
            while received := connection.recv(1 << 16):
                answer += received
        except ConnectionError:  # closed while there was more to read
            pass
        return answer


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nx: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 1000])
def test_headers_without_end_are_refused(port: int, head: bytes) -> None:
    block = b"x: 1\r\n" * 1000 if head.endswith(b"\r\n") else b"a" * 6000
    assert ask(port, head, *[block] * 100).startswith(b"HTTP/1.1 431 ")


def test_bodies_and_further_requests_do_not_count(port: int) -> None:
    first = b"POST / HTTP/1.1\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
    last = b"GET / HTTP/1.1\r\nconnection: close\r\nx: " + b"a" * (MAX_BYTES // 2) + b"\r\n\r\n"
    answered = ask(port, first, first, last)
    assert answered.count(b"HTTP/1.1 200 OK") == 3
    assert answered.count(b"200000") == 2


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n"])
def test_what_is_no_http_is_a_problem(port: int, head: bytes) -> None:
    answered = ask(port, head)
    assert answered.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
    assert json.loads(answered.partition(b"\r\n\r\n")[2])["code"] == "bad_request"
