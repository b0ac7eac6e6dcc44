"""The guide: every command and every snippet of it is run, in order, against a running service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import FILES, ROOT, relative
from tests.support.snippets import ADDRESS, Interpreter, Shell, read_snippets, run_page

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

PAGES = [
    path
    for path in FILES
    if path.suffix == ".md"
    and (path == ROOT / "README.md" or path.is_relative_to(ROOT / "docs"))
    and path != ROOT / "docs" / "api.md"  # whose operations have a test of their own
    and any(not snippet.not_run for snippet in read_snippets(path.read_text(encoding="utf-8")))
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_snippets_of_a_page_do_what_it_says(
    page: Path, service: str, shell: Shell, interpreter: Interpreter
) -> None:
    assert run_page(page, service, shell, interpreter) > 0


@pytest.mark.timeout(900)
def test_the_notebook_runs_from_top_to_bottom(service: str, interpreter: Interpreter, folder: Path) -> None:
    notebook = json.loads((ROOT / "docs" / "how-to" / "fine-tune.ipynb").read_text(encoding="utf-8"))
    assert interpreter.run("import matplotlib; matplotlib.use('agg')", "a notebook draws into itself", 1)[0] == 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "its outputs would be those of one machine"
            code = ADDRESS.sub(service.removeprefix("http://"), "".join(cell["source"]))
            status, printed = interpreter.run(code, cell["id"], 1)
            assert status == 0, printed
    assert (folder / "notebook.safetensors").exists()
