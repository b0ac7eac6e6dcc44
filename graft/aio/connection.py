"""Connection to Graft's API: calls are repeated while a connection fails, lists are read page by page."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from graft.aio.runtime import sleep
from graft.errors import GraftError, read_retry_after
from graft.http_options import build_options, choose_address
from graft.results.shared import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

Json = dict[str, Any]
Result = TypeVar("Result")

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
TRIES = 5
"""Tries of a repeatable call while the connection fails."""
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""Time for which a service that has answered before may be away or unavailable: it, or its database, may restart."""


class AsyncConnection:
    """Connection to one service."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        """Connect to the service at `url`; by default at GRAFT_URL, or on this machine.

        key: an API key, where the service asks for one; by default GRAFT_API_KEY.
        """
        self.url, self._key = choose_address(url), key
        self._has_answered = False
        self._http = httpx.AsyncClient(**build_options(self.url, TIMEOUT, key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _follow(
        self, address: str, is_over: Callable[[], Awaitable[bool]], last: str | None = None
    ) -> AsyncIterator[Event]:
        """Stream the events at an address after the id `last`, live until the work is over.

        Resumes after a broken connection. Raises httpx.TransportError when the service stays away for longer than
        PATIENCE_SECONDS.
        """
        heard = time.monotonic()
        while True:
            try:
                async for event in self._stream_events(address, last):
                    last, heard = event["id"], time.monotonic()
                    yield event
                if await is_over():
                    return
                heard = time.monotonic()
            except (httpx.TransportError, GraftError) as error:
                pause = _choose_pause(error)
                if pause is None or time.monotonic() + pause - heard > PATIENCE_SECONDS:
                    raise
                await sleep(pause)

    async def _stream_events(self, address: str, last: str | None) -> AsyncIterator[Event]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        async with self._http.stream("GET", address, headers=headers) as response:
            if response.is_error:
                await response.aread()
                raise GraftError.from_response(response)
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    yield Event(json.loads(line.removeprefix("data:")))

    async def _get(self, address: str, query: Mapping[str, Any] | None = None) -> Json:
        return await self._call("GET", address, params=query)

    async def _call(self, method: str, address: str, **request: Any) -> Json:
        """Make a repeatable call that is answered with JSON."""
        return parse(await self._request(method, address, **request))

    async def _iterate_pages(
        self, make: Callable[[Json], Result], address: str, query: Mapping[str, Any]
    ) -> AsyncIterator[Result]:
        after: Json = {}
        while True:
            page = await self._get(address, {**query, **after})
            for one in page["data"]:
                yield make(one)
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    async def _delete(self, address: str) -> None:
        require_success(await self._request("DELETE", address))

    async def _request(self, method: str, address: str, **request: Any) -> httpx.Response:
        """Make a repeatable call."""

        async def send() -> httpx.Response:
            return require_available(await self._http.request(method, address, **request))

        return await self._retry(send)

    async def _retry(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Make a repeatable call, again while the connection fails or the service asks to come later.

        A service that has never answered is given up after TRIES, another after PATIENCE_SECONDS.
        """
        tries, failed_at = 0, math.inf
        while True:
            tries += 1
            try:
                result = await call()
            except (httpx.TransportError, GraftError) as error:
                self._has_answered |= isinstance(error, GraftError)
                failed_at = min(failed_at, time.monotonic())
                pause = _choose_pause(error)
                if pause is None or time.monotonic() + pause > failed_at + PATIENCE_SECONDS:
                    raise
                if tries >= TRIES and not self._has_answered:
                    raise
                await sleep(pause)
            else:
                self._has_answered = True
                return result


def parse(response: httpx.Response) -> Json:
    """Parse the JSON object of an answer; raises GraftError where the service refused the call, or gave no object."""
    require_success(response)
    try:
        body: Json = response.json()
    except ValueError:
        raise GraftError.from_stranger(response) from None
    if not isinstance(body, dict):
        raise GraftError.from_stranger(response)
    return body


def require_success(response: httpx.Response) -> httpx.Response:
    """Raise GraftError where the service refused the call."""
    if response.is_error:
        raise GraftError.from_response(response)
    return response


def require_available(response: httpx.Response) -> httpx.Response:
    """Raise the error of a service that asks to be called again later."""
    if read_retry_after(response) is not None:
        raise GraftError.from_response(response)
    return response


def _choose_pause(error: httpx.TransportError | GraftError) -> float | None:
    """Choose the seconds to wait before a call is repeated that failed like this; None if that would not help."""
    if not isinstance(error, GraftError):
        return PAUSE_SECONDS
    return None if error.retry_after is None else max(error.retry_after, PAUSE_SECONDS)
