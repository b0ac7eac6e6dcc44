"""The page about backbones says what its tables hold."""

from __future__ import annotations

from tools.backbone_coverage import NUMBERS, STRUCTURE, TRANSFORMERS, read
from tools.backbones_page import PAGE, render_page


def test_the_page_names_what_fails_and_how_much_was_tried() -> None:
    page, structure, numbers = render_page(), read(STRUCTURE), read(NUMBERS)
    assert f"{len(structure):,} of " in page
    assert f"{len(numbers):,} of " in page
    assert f"{len(read(TRANSFORMERS))} of " in page
    refused = {row["architecture"] for row in structure if row["structure"] != "graph"}
    assert {name for name in refused if not name.endswith("_enc")} == {
        name for name in refused if f"| `{name}` |" in page
    }


def test_the_page_is_that_of_its_tables() -> None:
    # Versions are those of the run, not of the libraries that are installed here.
    written = PAGE.read_text(encoding="utf-8").partition("## Structure")[2]
    assert written == render_page().partition("## Structure")[2]
