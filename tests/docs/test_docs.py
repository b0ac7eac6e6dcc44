"""The guide: its pages, their order, and the snippets that no test runs."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from models.catalog.recipe import Recipe
from tests.support.repository import FILES, ROOT, relative
from tests.support.snippets import Command, Shell, Snippet, agrees, read_commands, read_snippets

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [path for path in FILES if path.suffix == ".md" and path.is_relative_to(ROOT / "docs")]
REASONS = {
    "the tests cannot run themselves": 1,
    "it starts the service, and the test has one": 2,
    "it needs Docker": 1,
    "it needs a server of its own": 3,
    "it needs an account elsewhere": 4,
    "it needs the internet": 1,
    "it needs a file of your own": 4,
    "it needs another checkpoint, and has a test of its own": 2,
}
"""Reasons for which a snippet is not run, and how many there may be of each."""


def test_few_snippets_are_not_run_and_each_says_why() -> None:
    pages = [ROOT / "README.md", *PAGES]
    marks = Counter(
        snippet.not_run
        for page in pages
        for snippet in read_snippets(page.read_text(encoding="utf-8"))
        if snippet.not_run
    )
    assert {reason for reason in marks if reason not in REASONS} == set()
    assert {reason: count for reason, count in marks.items() if count > REASONS[reason]} == {}


def test_every_page_is_in_the_order_of_the_guide() -> None:
    order = re.findall(r"^ +- ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(order) == len(set(order))
    assert {f"docs/{page}" for page in order} == {relative(page) for page in PAGES}


def test_no_fence_is_of_a_language_that_nobody_checks() -> None:
    known = {"", "console", "sh", "python", "json", "js", "yaml", "csv", "text"}
    found = {relative(page): set(re.findall(r"^ *```(\w+)", page.read_text(encoding="utf-8"), re.M)) for page in PAGES}
    assert {page: languages - known for page, languages in found.items() if languages - known} == {}


@pytest.mark.parametrize("page", ["docs/how-to/train.md", "docs/migrating.md"])
def test_recipes_in_tables_are_valid(page: str) -> None:
    recipes = re.findall(r"`({\"[^`]*})`", (ROOT / page).read_text(encoding="utf-8"))
    assert recipes
    for recipe in recipes:
        Recipe.model_validate_json(recipe)


def test_snippets_are_read_with_their_lines_and_reasons() -> None:
    text = "# A\n\n```sh\nls\n```\n\n<!-- not run: it needs Docker -->\n```console\n$ docker ps\n```\n"
    text += "\n    ```python\n    1\n    ```\n"
    assert list(read_snippets(text)) == [
        Snippet("sh", "ls\n", 4, None),
        Snippet("console", "$ docker ps\n", 9, "it needs Docker"),
        Snippet("python", "1\n", 13, None),
    ]


def test_a_command_ends_where_its_quotes_do_and_outputs_follow() -> None:
    code = "$ curl --json '\n  {}' \\\n  address\n{\"id\":\n 1}\n\n$ ls\n"
    assert read_commands(Snippet("console", code, 1, None)) == [
        Command("curl --json '\n  {}' \\\n  address", '{"id":\n 1}'),
        Command("ls", None),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ('{"id": "ds_…", …}', '{"id":"ds_01M8","name":"a"}\n', True),
        ("a b", "a\n  b\n", True),
        ("a", "ab", False),
        ("97.0%", "96.0%", False),
    ],
)
def test_outputs_agree_but_for_what_a_page_leaves_out(shown: str, printed: str, expected: bool) -> None:
    assert agrees(shown, printed) is expected


@pytest.mark.parametrize("lines", ["false\ntrue", "false | cat\ntrue", "true\nfalse"])
def test_a_snippet_fails_where_one_of_its_lines_does(tmp_path: Path, lines: str) -> None:
    with closing(Shell(tmp_path, os.environ)) as shell:
        assert shell.run("export A=1\necho $A") == (0, "1\n\n")
        assert shell.run("echo $A") == (0, "1\n\n"), "lines share one process"
        assert shell.run(lines)[0] == 1
