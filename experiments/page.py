"""The page: sections of Markdown, each with what an experiment asks, what it measured and what that means."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Rows under their heads."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown has it."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Report:
    """What one experiment found."""

    tables: Sequence[Table]
    figure: Figure
    shows: str
    """What is to be seen on the figure."""
    findings: Sequence[str]
    """Sentences that follow from the figures."""
    notes: Sequence[str] = field(default=())
    """What else must be known to read them."""


class Result(Protocol):
    """What an experiment measured."""

    def report(self) -> Report:
        """Tables, figure and findings."""
        ...


def question(measure: Callable[..., object]) -> tuple[str, str]:
    """Title and text: the docstring of the file that an experiment lies in."""
    said = inspect.getdoc(sys.modules[measure.__module__])
    assert said is not None
    title, _, text = said.partition("\n")
    return title.rstrip("."), text.strip()


def section(number: int, name: str, asked: tuple[str, str], report: Report) -> str:
    """One section; its figure lies beside the page, under the experiment's name."""
    title, text = asked
    findings = "\n".join(f"- {finding}" for finding in report.findings)
    parts = [
        f"## {number}. {title}",
        text,
        *report.notes,
        *(table.markdown() for table in report.tables),
        f"![{report.shows}](experiments/{name}.svg)",
        f"What came out:\n\n{findings}",
    ]
    return "\n\n".join(parts)


def page(head: Sequence[str], sections: Sequence[str]) -> str:
    """All of it."""
    return "\n\n".join(["# Experiments", *head, *sections]) + "\n"
