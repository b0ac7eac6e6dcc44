"""`graft doctor`: what is wrong with a service and with this machine, and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer

from graft.connection import LOOPBACK
from graft.errors import GraftError
from graft.terminal import REFUSED, AsJson, Url, connect, find_missing_package, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graft.client import Client

MARKS = {"ok": "✓", "note": "·", "problem": "✗"}
MACHINE = "workers.doctor"
"""Module that checks what a machine of the service needs; only where the extra `server` is installed."""


def doctor(
    service: Annotated[bool, typer.Option(help="Ask the running service.")] = True,
    machine: Annotated[bool, typer.Option(help="Check this machine, where the service is installed.")] = True,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check the service, and this machine's database, broker, storage, disk, GPU and hub; ends with 1 if one fails."""
    found = []
    with connect(url) as client:
        for check in chain(check_service(client) if service else (), check_machine() if machine else ()):
            found.append(check)
            if not as_json:
                say(f"{MARKS[check['state']]} {check['name']}: {check['message']}")
    if as_json:
        print_json(found)
    if any(check["state"] == "problem" for check in found):
        raise typer.Exit(REFUSED)


def check_service(client: Client) -> Iterator[dict[str, str]]:
    """Check that a service answers, of this release, and has live workers."""
    try:
        theirs, ours = _ask(client, "/openapi.json").json()["info"]["version"], version("graft")
    except (httpx.HTTPError, ValueError, KeyError) as error:
        what = f"no Graft answers at {client.url} ({error}). Start one with `graft up`, or set GRAFT_URL."
        yield _report("service", "problem", what)
        return
    yield _report("service", "ok", f"Graft {theirs} at {client.url}")
    if theirs != ours:
        what = f"this command is of {ours}, the service of {theirs}. Install the same, for all of its features."
        yield _report("versions", "note", what)
    ready = _ask(client, "/readyz")
    if ready.is_error:
        yield _report("readiness", "problem", str(GraftError.from_response(ready)))
    try:
        workers = list(client.workers())
    except GraftError as error:
        what = f"{error} Set GRAFT_API_KEY to a key of the service." if error.status == 401 else str(error)
        yield _report("workers", "problem", what)
        return
    alive = sum(worker.is_alive for worker in workers)
    if alive:
        yield _report("workers", "ok", f"{alive} of {len(workers)} are alive")
    else:
        yield _report("workers", "problem", "none is alive, so that no job starts. Start one with `graft worker`.")


def _ask(client: Client, address: str) -> httpx.Response:
    """Ask once: what does not answer at once is what one looks for."""
    with httpx.Client(base_url=client.url, timeout=10.0, mounts=dict.fromkeys(LOOPBACK)) as http:
        return http.get(address)


def check_machine() -> Iterator[dict[str, str]]:
    """Check what a machine of the service needs."""
    missing = find_missing_package()
    if missing:
        what = f"the client alone is installed: {missing} is missing. The service needs pip install 'graft[server]'"
        yield _report("machine", "note", what)
        return
    env = {**os.environ, "PYTHONSAFEPATH": "1"}  # else a user's own `models` in the current folder comes first
    command, told = [sys.executable, "-m", MACHINE], ["no reason was given"]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as running,
    ):
        for line in running.stdout or ():
            check: dict[str, Any] = json.loads(line)
            yield check
        running.wait()
        errors.seek(0)
        told += errors.read().strip().splitlines()
    if running.returncode:
        yield _report("machine", "problem", told[-1])


def _report(name: str, state: str, message: str) -> dict[str, str]:
    return {"name": name, "state": state, "message": message}
