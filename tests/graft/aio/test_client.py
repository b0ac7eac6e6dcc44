"""The client for asyncio, against a server that misbehaves; its twin's tests hold for it, too."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from graft import AsyncClient
from graft.errors import GraftError
from tests.support.misbehaving_server import DIGEST, FILE, Handler, give_file, listen
from tests.support.records import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    """A server whose `answers` are to be filled, of a client that does not wait between tries."""
    monkeypatch.setattr("graft.aio.connection.PAUSE_SECONDS", 0.0)
    with listen() as handler:
        yield handler


def test_a_job_is_started_followed_and_downloaded(server: type[Handler], tmp_path: Path) -> None:
    def create(handler: Handler) -> None:
        handler.read_body()
        handler.give_json(make_job())

    def give_events(handler: Handler) -> None:
        after = int(handler.headers.get("Last-Event-ID") or 0)
        events = [{"id": str(n), "seq": n, "kind": "phase"} for n in range(after + 1, 7)]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        handler.give("".join(lines).encode(), 200, len("".join(lines[:2])) if after < 4 else None)

    ended = make_job(status="succeeded", checkpoints=["c"])
    server.answers = {
        ("POST", "/v1/jobs"): create,
        ("GET", "/v1/jobs/job_1/events"): give_events,
        ("GET", "/v1/jobs/job_1"): lambda handler: handler.give_json(ended),
        ("GET", "/v1/checkpoints/c"): lambda handler: handler.give_json({"digest": f"sha256:{DIGEST}"}),
        ("GET", "/v1/checkpoints/c/content"): give_file([700_000, 200_000]),
    }

    async def train() -> list[int]:
        async with AsyncClient(server.url) as client:
            job = await client.create_job("ds_1", "local/small")
            seen = [event.seq async for event in job]
            await (await job.wait()).download(tmp_path / "best")
        return seen

    assert asyncio.run(train()) == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "best").read_bytes() == FILE


def test_a_folder_is_uploaded_while_the_loop_goes_on(server: type[Handler], tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def create(handler: Handler) -> None:
        bodies.append(handler.read_body())
        if len(bodies) == 1:
            handler.close_connection = True
        else:
            handler.give_json({"id": "ds_1"}, 202)

    server.answers["POST", "/v1/datasets"] = create
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"1" * 3_000_000)

    async def upload() -> tuple[str, int]:
        turns = 0
        sent: list[int] = []

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with AsyncClient(server.url) as client, asyncio.TaskGroup() as group:
            counter = group.create_task(count())
            dataset = await client.create_dataset(tmp_path / "photos", sent=sent.append)
            counter.cancel()
        assert sum(sent) == 2 * len(bodies[1]), "both tries"
        return dataset.id, turns

    found, turns = asyncio.run(upload())
    assert (found, len(bodies), bodies[0] == bodies[1]) == ("ds_1", 2, True)
    assert turns > 5


def test_lists_are_read_page_by_page_and_problems_are_errors(server: type[Handler]) -> None:
    def page(handler: Handler) -> None:
        last = "after=b" in handler.path
        handler.give_json({"data": [{"id": "c"}] if last else [{"id": "b"}], "has_more": not last, "last_id": "b"})

    problem = {"code": "job_not_found", "detail": "There is no job j."}
    server.answers = {("GET", "/v1/jobs"): page, ("GET", "/v1/jobs/j"): lambda h: h.give_json(problem, 404)}

    async def read() -> list[str]:
        async with AsyncClient(server.url) as client:
            with pytest.raises(GraftError, match="There is no job j"):
                await client.job("j")
            return [job.id async for job in client.jobs()]

    assert asyncio.run(read()) == ["b", "c"]
