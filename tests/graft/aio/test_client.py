"""The client for asyncio, against a server that misbehaves; its twin's tests hold for it, too."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from graft import AsyncClient
from graft.errors import GraftError
from tests.support.misbehaving_server import DIGEST, FILE, Handler, give_file, listen
from tests.support.records import make_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


def test_files_are_read_in_threads_and_a_folder_is_listed_once(
    server: type[Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("graft.aio.resumable.LARGE", 1000)
    photos = tmp_path / "photos"
    (photos / "cat").mkdir(parents=True)
    (photos / "cat" / "1.png").write_bytes(b"1" * 2000)
    threads: dict[str, list[int]] = defaultdict(list)

    def watch(name: str) -> None:
        function = getattr(Path, name)

        def record(path: Path, *arguments: Any, **more: Any) -> Any:
            if path.is_relative_to(photos):
                threads[name].append(threading.get_ident())
            return function(path, *arguments, **more)

        monkeypatch.setattr(Path, name, record)

    def give(body: object, **headers: str) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            handler.read_body()
            handler.give(json.dumps(body).encode(), **headers)

        return answer

    upload = {"id": "up_1", "offset": 0, "used_by": None}
    server.answers = {
        ("POST", "/v1/uploads"): give({}, Location="/v1/uploads/up_1"),
        ("PATCH", "/v1/uploads/up_1"): give({}),
        ("GET", "/v1/uploads/up_1"): give(upload),
        **{
            ("POST", f"/v1/{name}"): give({"id": "x", "data": [], "has_more": False})
            for name in ("datasets", "predict")
        },
        ("POST", "/v1/recipes/check"): give({}),
        ("GET", "/v1/datasets/x"): give({"id": "x", "status": "ready", "error": None}),
        ("POST", "/v1/jobs"): give(make_job()),
        ("POST", "/v1/backbones"): give({"id": "x"}),
        ("POST", "/v1/models/m/saliency"): give({}),
        ("POST", "/v1/models/m/nearest"): give({}),
    }
    for name in ("iterdir", "open"):
        watch(name)

    async def use() -> int:
        async with AsyncClient(server.url) as client:
            await client.fine_tune(photos, "local/small")
            listed = len(threads["iterdir"])
            image = photos / "cat" / "1.png"
            await client.predict([image], ["m"])
            await client.saliency(image, "m")
            await client.nearest(image, "m")
            await client.create_backbone(image, samples=photos)
        assert listed == 2, "each folder once"
        return threading.get_ident()

    loop = asyncio.run(use())
    assert {name: loop in idents for name, idents in threads.items()} == {"iterdir": False, "open": False}


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
