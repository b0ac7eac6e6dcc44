"""Refusals name what a file is and what to send instead, in errors as in the documentation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from models import importers
from models.conversion.errors import ConversionError
from models.importers.readers import FORMATS
from models.importers.refusals import REFUSALS

PAGE = (Path(__file__).parents[3] / "docs" / "import-formats.md").read_text()


def test_the_page_lists_every_refusal_and_no_other() -> None:
    table = PAGE.split("## Refused files")[1].split("## ")[0]
    rows = re.findall(r"^\| (.+) \| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(one.what, one.code, one.instead) for one in REFUSALS]


def find_codes() -> set[str]:
    """Find the codes of errors that importers raise by themselves, and those of their readers."""
    calls = [
        call
        for module in Path(importers.__path__[0]).glob("*.py")
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "ImportRejected"
    ]
    named = {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}
    return named | {error.code for error in ConversionError.__subclasses__()}


def test_the_page_lists_every_error_of_files_that_are_read() -> None:
    table = PAGE.split("## Files of these formats that give no backbone")[1]
    firsts = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    listed = [code for first in firsts for code in re.findall(r"`(\w+)`", first) if code != "code"]
    assert len(listed) == len(set(listed))
    others = {"classifier_unsupported", "configuration_broken", "input_size_unsupported", "untraceable"}
    assert set(listed) == find_codes() | others


def test_the_page_lists_every_format() -> None:
    table = PAGE.split("## Formats")[1].split("## ")[0]
    listed = [name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted([*FORMATS, "format"])


def test_every_refusal_says_what_to_send() -> None:
    for refusal in REFUSALS:
        message = str(refusal.of("net.bin", "of Somebody"))
        assert message.startswith(f"net.bin is {refusal.what} (of Somebody). ")
        assert message.endswith(refusal.instead)
        assert re.search(r"[Ss]end|[Cc]onvert|[Ee]xport|[Pp]ack|[Dd]ownload|[Mm]erge|[Rr]un|[Ss]ave", refusal.instead)
