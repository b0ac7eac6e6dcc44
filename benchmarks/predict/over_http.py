"""Costs of predictions over HTTP: one image in turn, many clients at once, and after the predictor was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import httpx

from benchmarks.predict.images import TIMES, make_fresh, take_median
from models.images.decode import Decoding, decode_checked
from predictor.images import ImageInput, KnownFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from predictor.trunk import LoadedTrunk

CLIENTS = 64
IMAGES = 512
"""Different images that are sent by many clients."""


class Target(NamedTuple):
    """An address that requests are sent to."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str] = MappingProxyType({})

    def ask(self, connection: HTTPConnection, body: bytes) -> None:
        """Send a request, which must be answered with 200."""
        connection.request(self.method, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content


def measure_alone(target: Target, bodies: list[bytes]) -> float:
    """Measure the median of requests in turn over one connection."""
    connection = HTTPConnection(target.host, timeout=120)
    seconds = take_median(lambda body: target.ask(connection, body), bodies)
    connection.close()
    return seconds


def measure_http(address: str, checkpoint: str, trunk: LoadedTrunk, sources: list[bytes]) -> None:
    """Measure one image over HTTP, warm, new and known, against decoding and trunk, in turns with a new one.

    By Python's own client: httpx takes a millisecond for itself.
    """
    target = Target(address.removeprefix("http://"), "POST", f"/v1/checkpoints/{checkpoint}/predict?top_k=1")
    measure_alone(target, make_fresh(sources, TIMES))
    connection = HTTPConnection(target.host, timeout=120)
    requests, parts = [], []
    for asked, computed in zip(make_fresh(sources, 2 * TIMES), make_fresh(sources, 2 * TIMES), strict=True):
        requests.append(take_median(lambda body: target.ask(connection, body), [asked]))
        parts.append(measure_parts(trunk, computed))
    connection.close()
    new, decode, compute = (median(seconds) for seconds in (requests, *zip(*parts, strict=True)))
    known = measure_alone(target, [sources[0]] * TIMES)
    print(
        f"\none image over HTTP, warm: p50 {1000 * new:.2f} ms; decoding {1000 * decode:.2f} ms and trunk "
        f"{1000 * compute:.2f} ms ({trunk.config}): {new / (decode + compute):.2f} ×"
    )
    print(f"a known image over HTTP: p50 {1000 * known:.2f} ms", flush=True)


def measure_parts(trunk: LoadedTrunk, data: bytes) -> tuple[float, float]:
    """Measure the seconds to decode and render an image, and those of the trunk for it."""
    began = time.perf_counter()
    pixels = trunk.views.render(decode_checked(data, Decoding()), b"", 0)
    decoded = time.perf_counter()
    trunk.engine(pixels[None])
    return decoded - began, time.perf_counter() - decoded


def measure_throughput(address: str, checkpoint: str, trunk: LoadedTrunk, sources: list[bytes]) -> None:
    """Measure the images a second of many clients, against the floor of its parts in the same run."""
    images = make_fresh(sources, IMAGES)
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pixels = list(
            threads.map(lambda data: ImageInput(data, Decoding(), trunk.views, KnownFiles()).render(), images)
        )
    decode = len(images) / (time.perf_counter() - began)
    began = time.perf_counter()
    for image in pixels:
        trunk.engine(image[None])
    compute = len(pixels) / (time.perf_counter() - began)
    host = address.removeprefix("http://")
    empty = IMAGES / send_all(Target(host, "GET", "/healthz"), [b""] * IMAGES)[0]
    target = Target(host, "POST", f"/v1/checkpoints/{checkpoint}/predict?top_k=1")
    send_all(target, make_fresh(sources, CLIENTS))
    seconds, middle = send_all(target, make_fresh(sources, IMAGES))
    got, floor = IMAGES / seconds, 1 / (1 / decode + 1 / compute + 1 / empty)
    print(
        f"\n{CLIENTS} clients: {got:.0f} images a second, p50 {1000 * middle:.0f} ms; decoding {decode:.0f}, trunk "
        f"{compute:.0f}, empty requests {empty:.0f} a second: {got / floor:.2f} × of what these allow ({floor:.0f})",
        flush=True,
    )


def send_all(target: Target, bodies: list[bytes]) -> tuple[float, float]:
    """Send requests from CLIENTS threads, each with a connection that is kept; returns all seconds, and the median."""
    waiting = deque(bodies)
    times: list[float] = []

    def send(_: int) -> None:
        connection = HTTPConnection(target.host, timeout=120)
        with suppress(IndexError):
            while True:
                body = waiting.popleft()
                began = time.perf_counter()
                target.ask(connection, body)
                times.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(send, range(CLIENTS)))
    return time.perf_counter() - began, median(times)


def measure_kill(address: str, checkpoint: str, sources: list[bytes]) -> None:
    """Kill the predictor while it has requests; measure until the next is answered."""
    url = f"{address}/v1/checkpoints/{checkpoint}/predict?top_k=1"

    async def run() -> tuple[list[int], float]:
        async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
            flying = [asyncio.create_task(http.post(url, content=image)) for image in make_fresh(sources, CLIENTS)]
            await asyncio.sleep(0.1)
            os.kill(_find_predictor(), signal.SIGKILL)
            began = time.perf_counter()
            statuses = [response.status_code for response in await asyncio.gather(*flying)]
            (await http.post(url, content=sources[0])).raise_for_status()
            return statuses, time.perf_counter() - began

    statuses, seconds = asyncio.run(run())
    counted = ", ".join(f"{statuses.count(status)} × {status}" for status in sorted(set(statuses)))
    print(f"\nkill -9 of the predictor with {CLIENTS} requests: {counted}; the next is answered after {seconds:.1f} s")


def _find_predictor() -> int:
    """Find the predictor among this process's descendants."""
    found = [pid for pid in _descendants(os.getpid()) if b"\0predictor\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found[0]


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in _descendants(child)]
