"""Snippets of Markdown pages: reads fenced blocks, runs them in order, and compares what they print."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from tools.guide_hooks import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>console|sh|python)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
MARK = re.compile(rf"{NOT_RUN}\s*$")
ANYTHING = "…"
"""Stands for any text in what a page shows of an output."""
ADDRESS = re.compile(r"(127\.0\.0\.1|localhost):8000")
END = "end-of-snippet"
LOOP = f"""
import json, sys, traceback
names = {{"__name__": "__main__"}}
for line in sys.stdin:
    order, status = json.loads(line), 0
    try:
        exec(compile(order["code"], order["page"], "exec"), names)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    print("\\n{END}", status, flush=True)
"""
"""Program of the process that runs Python."""


class Snippet(NamedTuple):
    """A fenced block that can be run."""

    language: str
    code: str
    line: int
    """Line of the page on which its code begins."""
    not_run: str | None
    """Reason that the page gives for not running it."""


class Command(NamedTuple):
    """A shell command, and what the page shows of its output; None where it shows nothing."""

    text: str
    output: str | None


def read_snippets(text: str) -> Iterator[Snippet]:
    """Read the snippets of a page in their order."""
    for fence in FENCE.finditer(text):
        mark = MARK.search(text[: fence.start()])
        line = text.count("\n", 0, fence.start("code")) + 1
        code = textwrap.dedent(fence["code"])
        yield Snippet(fence["language"], code, line, mark[1] if mark else None)


def read_commands(snippet: Snippet) -> list[Command]:
    """Read the commands of a snippet: in `console` each after a `$ `, with its output below; `sh` has no outputs."""
    if snippet.language == "sh":
        return [Command(snippet.code, None)]
    commands: list[Command] = []
    for block in re.split(r"^\$ ", snippet.code, flags=re.MULTILINE)[1:]:
        lines = block.rstrip().split("\n")
        length = next(n for n in range(1, len(lines) + 1) if n == len(lines) or _is_complete("\n".join(lines[:n])))
        output = "\n".join(lines[length:]).strip()
        commands.append(Command("\n".join(lines[:length]), output or None))
    return commands


def _is_complete(text: str) -> bool:
    """Tell whether a command ends here: no open quote, no backslash at its end."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def agrees(shown: str, printed: str) -> bool:
    """Tell whether an output is what a page shows, where `…` stands for anything and lines are broken anywhere."""
    pattern = ".*".join(re.escape("".join(part.split())) for part in shown.split(ANYTHING))
    return re.fullmatch(pattern, "".join(printed.split()), re.DOTALL) is not None


class Session:
    """A process that runs one snippet after the other, so that they share variables and the current folder."""

    program: ClassVar[list[str]]

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            self.program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            text=True,
        )

    def send(self, text: str) -> tuple[int, str]:
        """Send lines that end with the mark; returns the status, and all that was printed before it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if ended := re.fullmatch(rf"{END} (\d+)\n", line):
                return int(ended[1]), "".join(lines)
            lines.append(line)
        return self.process.wait(), "".join(lines)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Shell(Session):
    """A bash, which ends when a line fails."""

    program: ClassVar[list[str]] = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"]

    def run(self, command: str) -> tuple[int, str]:
        """Run a command of one or more lines; returns the status of the first that fails, and all that they print."""
        return self.send(f"{command}\nprintf '\\n%s %s\\n' {END} $?\n")


class Interpreter(Session):
    """A Python."""

    program: ClassVar[list[str]] = [sys.executable, "-c", LOOP]

    def run(self, code: str, page: str, line: int) -> tuple[int, str]:
        """Run code that begins at a line of a page; returns 0 or 1, and all that it prints, a traceback too."""
        return self.send(json.dumps({"code": "\n" * (line - 1) + code, "page": page}) + "\n")


def run_page(page: Path, address: str, shell: Shell, interpreter: Interpreter) -> int:
    """Run all snippets of a page against a service; returns the number that were run.

    `127.0.0.1:8000` and `localhost:8000` stand for the service's address.
    """
    count = 0
    for snippet in read_snippets(page.read_text(encoding="utf-8")):
        if not snippet.not_run:
            run_snippet(snippet, page, address, shell, interpreter)
            count += 1
    return count


def run_snippet(snippet: Snippet, page: Path, address: str, shell: Shell, interpreter: Interpreter) -> None:
    """Run a snippet: all of it must succeed, and print what the page shows."""
    snippet = snippet._replace(code=ADDRESS.sub(address.removeprefix("http://"), snippet.code))
    if snippet.language == "python":
        status, printed = interpreter.run(snippet.code, str(page), snippet.line)
        assert status == 0, printed
        return
    for command in read_commands(snippet):
        status, printed = shell.run(command.text)
        where = f"{page.name}:{snippet.line}: {command.text}\n{printed}"
        assert status == 0, where
        assert command.output is None or agrees(command.output, printed), where
