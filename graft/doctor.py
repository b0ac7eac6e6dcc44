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

from graft.connection import parse, require_success
from graft.errors import GraftError
from graft.http_options import build_options, choose_address
from graft.terminal import REFUSED, AsJson, Url, find_missing_package, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Graft"
"""Title of the service's OpenAPI description."""
SECONDS = 10.0
"""Time in which the service must answer."""
MOST_WORKERS = 1000
MARKS = {"ok": "✓", "note": "·", "problem": "✗"}
MACHINE = "workers.doctor"
"""Module that checks what a machine of the service needs; only where the extra `server` is installed."""


def doctor(
    service: Annotated[bool, typer.Option(help="Ask the running service.")] = True,
    machine: Annotated[bool, typer.Option(help="Check this machine, where the service is installed.")] = True,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check the service, and this machine from database to GPU, and change nothing; ends with 1 if a check fails."""
    found = []
    for check in chain(check_service(url) if service else (), check_machine() if machine else ()):
        found.append(check)
        if not as_json:
            say(f"{MARKS[check['state']]} {check['name']}: {check['message']}")
    if as_json:
        print_json(found)
    if any(check["state"] == "problem" for check in found):
        raise typer.Exit(REFUSED)


def check_service(url: str | None = None) -> Iterator[dict[str, str]]:
    """Check that a service answers, of this release, and has live workers; by default the one at GRAFT_URL."""
    address = choose_address(url)
    try:
        theirs, ours = _read_release(address), version("graft")
    except (httpx.HTTPError, httpx.InvalidURL, GraftError, LookupError, TypeError, ValueError) as error:
        what = f"no Graft answers at {address} ({error}). Start one with `graft up`, or set GRAFT_URL."
        yield _report("service", "problem", what)
        return
    yield _report("service", "ok", f"Graft {theirs} at {address}")
    if theirs != ours:
        what = f"this command is of {ours}, the service of {theirs}. Install the same, for all of its features."
        yield _report("versions", "note", what)
    for name, check in {"readiness": _check_readiness, "workers": _check_workers}.items():
        try:
            state, message = check(address)
        except GraftError as error:
            state, message = "problem", str(error)
        except httpx.HTTPError as error:
            state, message = "problem", f"{address} does not answer ({error}). Look at what the service has written."
        yield _report(name, state, message)


def _read_release(address: str) -> str:
    description = parse(_ask(address, "/openapi.json"))["info"]
    if description["title"] != TITLE:
        raise ValueError(f"{description['title']} does")
    return str(description["version"])


def _check_readiness(address: str) -> tuple[str, str]:
    require_success(_ask(address, "/readyz"))
    return "ok", "it takes jobs"


def _check_workers(address: str) -> tuple[str, str]:
    answer = _ask(address, f"/v1/workers?limit={MOST_WORKERS}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return "problem", f"{GraftError.from_response(answer)} Set GRAFT_API_KEY to a key of the service."
    workers = parse(answer)["data"]
    alive = sum(worker["is_alive"] for worker in workers)
    if alive:
        return "ok", f"{alive} of {len(workers)} are alive"
    return "problem", "none is alive, so that no job starts. Start one with `graft worker`."


def _ask(address: str, path: str) -> httpx.Response:
    """Ask once: what does not answer at once is what one looks for."""
    with httpx.Client(**build_options(address, SECONDS)) as http:
        return http.get(path)


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
