"""The figure shows what all of its methods were measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.quality.figure import draw_figure, keep_shared
from benchmarks.quality.rows import Key, make_row

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {
    Key(name, backbone, 0, method, 96, None): make_row([0.5], [True], seconds, seconds)
    for name in ("a", "b")
    for backbone in ("small", "large")
    for method, seconds in (("empty", 2.0), ("whole", 50.0))
}


def test_a_cell_that_lacks_a_method_is_left_out() -> None:
    lacking = {key: row for key, row in ROWS.items() if key[:4] != ("a", "small", 0, "whole")}
    shared = keep_shared(lacking, ["empty", "whole"])
    assert {(key.set, key.backbone) for key in shared} == {("a", "large"), ("b", "small"), ("b", "large")}
    assert keep_shared(lacking, ["empty"]).keys() == {key for key in ROWS if key.method == "empty"}


def test_the_figure_has_a_panel_for_each_backbone_and_a_point_for_each_method(tmp_path: Path) -> None:
    draw_figure(ROWS, ["empty", "whole"], tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.count(">empty<") == drawn.count(">whole<") == 2
    assert ">small<" in drawn
    assert ">large<" in drawn
