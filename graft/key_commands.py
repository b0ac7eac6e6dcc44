"""Command line of API keys: made here, in this machine's database, or by the API of a running service."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from graft.errors import InputUnusable
from graft.terminal import AsJson, become, connect, print_json, say, show

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
DURATION = re.compile(r"(\d{1,6})([mhdw])")
COLUMNS = ("id", "name", "scopes", "prefix", "expires_at", "revoked_at", "last_used_at")

app = typer.Typer(no_args_is_help=True, help="API keys: in this machine's database, or with --url by the API.")

Url = Annotated[
    str | None, typer.Option(envvar="GRAFT_URL", help="Address of a service; without it, this machine's database.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what uses it.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, predict, write (the default) or admin.")] = None,
    expires: Annotated[str | None, typer.Option(help="Time until it expires, as in 12h, 30d or 8w.")] = None,
    if_none: Annotated[bool, typer.Option("--if-none", help="Only if there is no valid one yet.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print its secret, which is shown this once."""
    with connect(url) as client:
        order: dict[str, Any] = {"name": name, "scopes": scope or ["write"], "expires_in": _parse_duration(expires)}
        if url is None:
            become("service.keys", "create", json.dumps({"key": order, "if_none": if_none, "as_json": as_json}))
        if if_none:
            raise InputUnusable(
                "--if-none is for this machine's database alone; leave it, or --url and GRAFT_URL, out."
            )
        key = client.create_key(name, order["scopes"], order["expires_in"])
    if as_json:
        print_json(key)
    else:
        say(f"{key.secret}\nSet it as GRAFT_API_KEY; it is shown this once.")


@app.command("list")
def list_keys(url: Url = None, as_json: AsJson = False) -> None:
    """List API keys, newest first, revoked ones included."""
    if url is None:
        become("service.keys", "list", json.dumps({"as_json": as_json}))
    with connect(url) as client:
        show(list(client.keys()), COLUMNS, as_json)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Its id, key_…")], url: Url = None, as_json: AsJson = False) -> None:
    """Revoke an API key, at once and for good."""
    if url is None:
        become("service.keys", "revoke", json.dumps({"id": key}))
    with connect(url) as client:
        client.revoke_key(key)
    if as_json:
        print_json({"revoked": key})


def _parse_duration(text: str | None) -> float | None:
    """Parse a time such as 30d into seconds; raises InputUnusable."""
    if text is None:
        return None
    found = DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise InputUnusable(f"--expires {text}: write a number and m, h, d or w, as in 12h, 30d or 8w.")
    return int(found[1]) * UNITS[found[2]]
