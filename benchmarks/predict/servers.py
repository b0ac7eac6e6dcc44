"""Other servers with the same network on the same engine: LitServe and BentoML, each in an environment of its own."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.peers import peer
from benchmarks.predict.images import TIMES, make_fresh
from benchmarks.predict.over_http import CLIENTS, IMAGES, Target, measure_alone, send_all
from service.checkpoints import blobs
from service.tables import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.database import Database

START_SECONDS = 60.0
BOUNDARY = "graft-benchmark"


class Server(NamedTuple):
    """A server: its name, the form of its requests, and how they hold an image."""

    title: str
    content_type: str
    encode: Callable[[bytes], bytes]


def encode_json(image: bytes) -> bytes:
    """Encode an image in base64."""
    return json.dumps({"image": base64.b64encode(image).decode()}).encode()


def encode_form(image: bytes) -> bytes:
    """Encode an image as the file of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


SERVERS = {
    "litserve_server": Server("LitServe", "application/json", encode_json),
    "bentoml_server": Server("BentoML", f"multipart/form-data; boundary={BOUNDARY}", encode_form),
}
"""By the names of their scripts."""


def measure_servers(database: Database, checkpoint: str, sources: list[bytes], folder: Path) -> None:
    """Measure one image in turn, and many clients, with each server."""
    file = folder / "served.safetensors"
    with database.reading() as session:
        row = session.get_one(Checkpoint, checkpoint)
    blobs.copy_to_file(database, row, file)
    for name, server in SERVERS.items():
        try:
            peer.install(name)
            with running(name, file, server, sources[0]) as target:
                alone = measure_alone(target, [server.encode(image) for image in make_fresh(sources, 2 * TIMES)])
                send_all(target, [server.encode(image) for image in make_fresh(sources, CLIENTS)])
                seconds, middle = send_all(target, [server.encode(image) for image in make_fresh(sources, IMAGES)])
        except peer.PeerFailed as error:
            print(f"{server.title}: {error}", flush=True)
            continue
        print(
            f"{server.title}: one image p50 {1000 * alone:.2f} ms; {CLIENTS} clients {IMAGES / seconds:.0f} images a "
            f"second, p50 {1000 * middle:.0f} ms",
            flush=True,
        )


@contextmanager
def running(name: str, file: Path, server: Server, image: bytes) -> Iterator[Target]:
    """Run a server until the block ends. Raises PeerFailed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    target = Target(f"127.0.0.1:{port}", "POST", "/predict", {"Content-Type": server.content_type})
    command = [str(peer.ENVIRONMENTS / name / "bin" / "python"), str(peer.SCRIPTS / f"{name}.py"), str(file), str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True, cwd=file.parent
        ) as process,
    ):
        try:
            until = time.monotonic() + START_SECONDS
            while not _answers(target, server.encode(image)):
                if process.poll() is not None or time.monotonic() > until:
                    output.seek(0)
                    lines = output.read().decode(errors="replace").splitlines() or ["it says nothing"]
                    raise peer.PeerFailed(f"does not answer: {lines[-1]:.300}")
                time.sleep(0.2)
            yield target
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(target: Target, body: bytes) -> bool:
    try:
        send_all(target, [body])
    except (OSError, HTTPException, AssertionError):
        return False
    return True
