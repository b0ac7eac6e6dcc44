"""The client without asyncio is generated from the one with it."""

from __future__ import annotations

from tools import synchronous_client


def test_the_client_is_what_its_twin_gives() -> None:
    modules = synchronous_client.render_modules()
    assert modules.keys() >= {"client.py", "jobs.py", "connection.py"}
    written = {name: (synchronous_client.CLIENT / name).read_text(encoding="utf-8") for name in modules}
    assert written == modules, "run: make docs"


def test_nothing_of_asyncio_is_left() -> None:
    words = ("async", "await", "aio", "Awaitable", "Async")
    for name, text in synchronous_client.render_modules().items():
        body = text.split("\n", 4)[4]
        assert not [word for word in words if word in body], name
