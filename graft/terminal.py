"""Terminal of the commands: connection to the service, printed rows, and failures in one line."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, requires
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.client import Client
from graft.errors import DownloadDamaged, GraftError, InputUnusable, WorkFailed
from graft.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from graft.record import Fields

ID = re.compile(r"[a-z]+_[0-9A-HJKMNP-TV-Z]{26}")
"""An id, as of a job."""
# Lines of any length where they are piped, so that no id is cut off.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
notes = Console(highlight=False, width=None if sys.stderr.isatty() else 1000, stderr=True)
"""Where progress goes while stdout is JSON."""

REFUSED = 1
"""Exit status where the service refused a call, or an input cannot be used."""
UNREACHABLE = 3
"""Exit status where the service does not answer; 2 is that of a wrong command line."""
UNSUCCESSFUL = 4
"""Exit status where a job, a dataset or an import ended without a result, or no backbone suffices."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells expect."""
EXIT_CODES = (
    "Exit status: 0 done; 1 refused, or an input cannot be used; 2 wrong command line; 3 the service does not answer; "
    "4 a job, dataset or import ended without a result; 130 Ctrl-C."
)
Url = Annotated[str | None, typer.Option(envvar="GRAFT_URL", help="Address of the service.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's JSON.")]


@contextmanager
def connect(url: str | None) -> Iterator[Client]:
    """Connect to the service; every error of it or of the connection ends the command in one line."""
    try:
        with Client(url) as client:
            yield client
    except WorkFailed as error:
        fail(str(error), UNSUCCESSFUL)
    except (GraftError, DownloadDamaged, InputUnusable) as error:
        fail(str(error))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        fail(f"The address of the service (--url or GRAFT_URL) must be as http://127.0.0.1:8000 is: {error}")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        fail(f"No Graft answers at {client.url} ({error}). Start one with `graft up`, or set GRAFT_URL.", UNREACHABLE)
    except httpx.RequestError as error:
        fail(f"The connection to {client.url} broke ({error}). Try again.", UNREACHABLE)
    except OSError as error:
        fail(f"{error.filename or client.url}: {error.strerror or error}.")


def become(module: str, *arguments: str) -> NoReturn:
    """Replace this process by a part of the service."""
    if missing := find_missing_package():
        fail(f"This needs the package {missing}, which is not installed: pip install 'graft[server]'")
    # Else Python, here and in child processes, imports a user's own `models` from the current folder first.
    os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def find_missing_package() -> str | None:
    """Find a package of the extra `server` that is not installed; None if all are."""
    try:
        for requirement in requires("graft") or ():
            if wanted := re.match(r"""([\w.-]+).*extra == ["']server["']""", requirement):
                distribution(wanted[1])
    except PackageNotFoundError as missing:
        return str(missing.name)
    return None


def fail(message: str, status: int = REFUSED) -> NoReturn:
    """End the command with a message on stderr."""
    typer.echo(message, err=True)
    raise typer.Exit(status)


def choose_console(as_json: bool) -> Console:
    """Choose where progress is printed: on stderr where stdout is JSON."""
    return notes if as_json else console


def say(message: str, where: Console = console) -> None:
    """Print a message as it is."""
    where.print(message, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON, records among it, as one document that programs read."""
    typer.echo(json.dumps(value, default=Record.to_dict))


def show(rows: Sequence[Fields], columns: tuple[str, ...], as_json: bool) -> None:
    """Print rows as a table of these columns, or all of them as JSON."""
    if as_json:
        print_json(rows)
        return
    cells = [["" if row[column] is None else str(row[column]) for column in columns] for row in rows]
    table = Table(box=None)
    for place, column in enumerate(columns):
        # One copies ids: a terminal that is too narrow for them breaks the line, and cuts none.
        has_ids = any(ID.fullmatch(line[place]) for line in cells)
        width = max((len(line[place]) for line in cells), default=0) if has_ids else None
        table.add_column(column, overflow="fold", min_width=width, no_wrap=has_ids)
    for line in cells:
        table.add_row(*map(escape, line))
    console.print(table, width=max(console.width, console.measure(table).minimum), crop=False, soft_wrap=False)
