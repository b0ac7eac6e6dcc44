"""Tests of the committed page, and of reproducible figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from experiments import plots
from experiments.material import ROOT
from experiments.measuring import EXPERIMENTS
from experiments.page import Report, Table, format_section, read_question

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

DOCS = ROOT / "docs"


def test_the_committed_page_has_a_section_and_a_figure_for_every_experiment() -> None:
    page = (DOCS / "experiments.md").read_text()
    titles = re.findall(r"^## (\d+)\. (.+)$", page, re.MULTILINE)
    expected = [(str(n), read_question(measure)[0]) for n, measure in enumerate(EXPERIMENTS.values(), 1)]
    assert titles == expected
    named = re.findall(r"!\[[^\]]+\]\((experiments/\w+\.svg)\)", page)
    assert named == [f"experiments/{name}.svg" for name in EXPERIMENTS]
    assert {DOCS / path for path in named} == set((DOCS / "experiments").iterdir())
    assert page.count("Findings:") == len(EXPERIMENTS)


def test_the_page_has_the_question_of_each_module() -> None:
    """Compare with the modules' docstrings: if they differ, other code made the page."""
    page = (DOCS / "experiments.md").read_text()
    for measure in EXPERIMENTS.values():
        assert read_question(measure)[1] in page


def draw_figure() -> Figure:
    """Draw a small figure."""
    drawn, (left, right) = plots.create_panels(2)
    plots.plot_lines(left, [1, 2], {"one": [[1.0, 2.0], [2.0, 3.0]], "other": [[3.0, 1.0], [2.0, 1.0]]})
    plots.plot_points(right, {"one": [1.0, 2.0], "other": [3.0]})
    plots.add_legend(drawn, left, 2)
    return drawn


def test_the_same_numbers_draw_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name / "drawn.svg" for name in ("first", "second")]
    for path in paths:
        plots.save(draw_figure(), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<dc:date>" not in first


def test_a_section_has_all_that_was_found() -> None:
    report = Report([Table(["a", "b"], [["1", "2"]])], draw_figure(), "A and b", ["B is more."], ["A note."])
    assert format_section(3, "letters", ("Letters", "Which is more?"), report) == (
        "## 3. Letters\n\nWhich is more?\n\nA note.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "![A and b](experiments/letters.svg)\n\nFindings:\n\n- B is more."
    )
