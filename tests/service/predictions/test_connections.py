"""Connections that are kept, against servers of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import uvloop

from service.predictions.connections import Answer, ConnectionLost, Connections, Unreachable
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NewLoop = Callable[[], asyncio.AbstractEventLoop]
ANSWER = b"HTTP/1.1 %s\r\ncontent-length: 2\r\n%s\r\n"
SOON = 10.0
LATE = b"late"
"""Body of a request that has no answer before it is given up."""


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    """Event loop of either kind that uvicorn runs on: their transports differ."""
    made: NewLoop = request.param
    return made


@asynccontextmanager
async def serving(*, status: bytes = b"200 OK", header: bytes = b"", answers: int = 9) -> AsyncIterator[Server]:
    """Run a server that answers some requests of each connection with the length of their bodies, and closes it."""
    server = Server(status, header, answers)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/predict"
        yield server
        await server.connections.close()
        await asyncio.gather(*server.tasks)


class Server:
    """Server that counts."""

    def __init__(self, status: bytes, header: bytes, answers: int) -> None:
        self.status, self.header, self.answers = status, header, answers
        self.tasks: list[asyncio.Task[None]] = []
        self.connections = Connections()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(self.answers):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:")
                assert b"\r\nx-secret: s\r\n" in head
                body = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
                if body == LATE:
                    await reader.read()
                writer.write(ANSWER % (self.status, self.header))
                await writer.drain()
                writer.write(body[:2])  # apart from the head, as it may come
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def post(self, body: bytes, seconds: float = SOON) -> Answer:
        """Send a request to itself."""
        return await self.connections.post(self.url, {"x-secret": "s"}, body, seconds)


def test_a_connection_is_used_again_and_each_request_has_its_own_answer(new_loop: NewLoop) -> None:
    async def run() -> None:
        async with serving() as server:
            for body in (b"ab", b"cd" * 1_000_000, b"ef"):
                assert await server.post(body) == Answer(200, body[:2])
            assert len(server.tasks) == 1
            bodies = [bytes([number, number]) for number in range(20)]
            answers = await asyncio.gather(*(server.post(body) for body in bodies))
            assert [answer.content for answer in answers] == bodies

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize(("header", "answers"), [(b"connection: close\r\n", 9), (b"", 1)])
def test_a_connection_that_the_predictor_closes_is_replaced(header: bytes, answers: int, new_loop: NewLoop) -> None:
    async def run() -> None:
        async with serving(status=b"422 Unprocessable Entity", header=header, answers=answers) as server:
            for number in range(3):
                assert await server.post(b"ab") == Answer(422, b"ab")
                await asyncio.sleep(0.05)  # until it is closed
                assert len(server.tasks) == number + 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_predictor_that_is_not_there_is_told_from_one_that_ends(new_loop: NewLoop) -> None:
    async def run() -> None:
        async with serving() as server:
            server.url = f"http://127.0.0.1:{free_port()}/predict"
            with pytest.raises(Unreachable):
                await server.post(b"ab")
        async with serving(answers=0) as server:
            with pytest.raises(ConnectionLost):
                await server.post(b"ab")
        async with serving(status=b"no HTTP") as server:
            with pytest.raises(ConnectionLost, match="no HTTP"):
                await server.post(b"ab")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_the_answer_of_a_request_that_was_given_up_is_not_the_next_ones(new_loop: NewLoop) -> None:
    async def run() -> None:
        async with serving() as server:
            assert (await server.post(b"ab")).content == b"ab"
            with pytest.raises(ConnectionLost, match="no answer"):
                await server.post(LATE, 0.2)
            assert (await server.post(b"ef")).content == b"ef"
            assert len(server.tasks) == 2

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
