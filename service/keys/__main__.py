"""Make, list and revoke API keys in this machine's database; `graft keys` runs it with an order in JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from service import startup
from service.database import Database
from service.errors import GraftError
from service.keys import repository
from service.keys.schemas import Key, KeyCreate
from service.problems import describe_invalid
from service.settings import from_environment

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST = 1000


def run(session: Session, command: str, order: dict[str, Any]) -> list[str]:
    """Run one command; returns the lines to print."""
    if command == "list":
        rows = repository.find_page(session, limit=MOST)
        keys = [Key.model_validate(row).model_dump(mode="json") for row in rows]
        return [json.dumps(keys)] if order["as_json"] else _tabulate(keys)
    if command == "revoke":
        repository.revoke(session, order["id"])
        return []
    if order["if_none"] and repository.has_valid(session):
        return []
    wanted = KeyCreate.model_validate(order["key"])
    key, secret = repository.create(session, wanted.name, wanted.scopes, wanted.expires_in)
    if order["as_json"]:
        return [json.dumps(Key.model_validate(key).model_dump(mode="json") | {"secret": secret})]
    return [secret, "Set it as GRAFT_API_KEY; it is shown this once."]


def main(command: str, order: str) -> None:
    """Run one command on the database of this machine's settings."""
    settings = from_environment()
    with startup.ending_when_impossible():
        startup.upgrade_database(settings)
    database = Database(settings.database)
    try:
        with database.writing() as session:
            lines = run(session, command, json.loads(order))
    except GraftError as error:
        raise SystemExit(error.detail) from None
    except ValidationError as error:
        raise SystemExit(describe_invalid(error)) from None
    finally:
        database.close()
    print(*lines, sep="\n", end="\n" if lines else "")


def _tabulate(keys: list[dict[str, Any]]) -> list[str]:
    rows = [
        ("id", "name", "scopes", "prefix", "state"),
        *((key["id"], key["name"], ",".join(key["scopes"]), key["prefix"], _describe(key)) for key in keys),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _describe(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {key['revoked_at']}"
    until = f"valid until {key['expires_at']}" if key["expires_at"] else "valid"
    return f"{until}, used {key['last_used_at'] or 'never'}"


if __name__ == "__main__":
    main(*sys.argv[1:])
