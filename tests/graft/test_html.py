"""HTML of notebooks: well-formed, without scripts, its curves as calculated by hand."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from graft import html
from graft.results.jobs import Epoch, Job
from tests.support.records import make_job

EPOCHS = [
    Epoch({"train_loss": train, "validation_loss": validation, "train_accuracy": 0.5, "validation_accuracy": 0.5})
    for train, validation in ((3.0, 2.0), (1.0, 2.0), (2.0, None))
]


def render(epochs: list[Epoch], **fields: Any) -> ET.Element:
    """Render a job; raises where it is not well-formed."""
    return ET.fromstring(html.render_job(Job(make_job(**fields)), epochs).replace("<br>", "<br/>"))


def test_a_job_shows_its_curves() -> None:
    loss, accuracy = render(EPOCHS).iter("svg")
    train, validation = (line.attrib["points"] for line in loss.iter("polyline"))
    assert train == "6.0,6.0 150.0,114.0 294.0,60.0", "3 is the highest, 1 the lowest"
    assert validation == "6.0,60.0 150.0,60.0", "an epoch without a value has no point"
    assert loss.attrib["aria-label"] == "loss of 3 epochs, from 1 to 3; last: train 2"
    assert "50.0%" in accuracy.attrib["aria-label"]


def test_curves_of_one_epoch_are_a_line_and_of_none_are_left_out() -> None:
    assert [len(line.attrib["points"].split()) for line in next(render(EPOCHS[:1]).iter("svg")).iter("polyline")] == [
        2,
        2,
    ]
    assert list(render([]).iter("svg")) == []


def test_names_are_text() -> None:
    shown = "".join(render([], name="<script>alert(1)</script>", waiting_for="a & b").itertext())
    assert "<script>alert(1)</script>" in shown
    assert "a & b" in shown


def test_an_ended_job_shows_its_results_or_its_error() -> None:
    metrics = {"validation": {"accuracy": 0.5}, "test": {"map": 0.25}}
    shown = "".join(render([], finished_at="2026-11-28T12:00:00Z", metrics=metrics).itertext())
    assert "validation accuracy 50.0%" in shown
    assert "test accuracy 25.0%" in shown
    assert list(render([], finished_at="2026-11-28T12:00:00Z").iter("progress")) == []
    assert "No memory" in "".join(render([], error={"code": "c", "message": "No memory"}).itertext())


def test_progress_is_a_bar_of_at_most_all() -> None:
    bar = ET.fromstring(html.render_progress("a < b", 50, 200))
    assert bar[0].attrib["value"] == "0.250"
    assert "100%" in html.render_progress("", 300, 200)
    assert "100%" in html.render_progress("", 0, 0)
