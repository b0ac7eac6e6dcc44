"""Markdown page of the experiments: a section with question, tables, figure and findings for each."""

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
    """A table: column heads and rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Format the table as Markdown."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Report:
    """Tables, figure and findings of an experiment."""

    tables: Sequence[Table]
    figure: Figure
    shows: str
    """Alternative text of the figure."""
    findings: Sequence[str]
    """Sentences derived from the figures."""
    notes: Sequence[str] = field(default=())
    """Notes needed to read the tables."""


class Result(Protocol):
    """Raw results of an experiment."""

    def report(self) -> Report:
        """Write tables, figure and findings."""
        ...


def read_question(measure: Callable[..., object]) -> tuple[str, str]:
    """Read title and question from the docstring of an experiment's module."""
    docstring = inspect.getdoc(sys.modules[measure.__module__])
    assert docstring is not None
    title, _, text = docstring.partition("\n")
    return title.rstrip("."), text.strip()


def format_section(number: int, name: str, asked: tuple[str, str], report: Report) -> str:
    """Format one section; its figure is beside the page, under the experiment's name."""
    title, text = asked
    findings = "\n".join(f"- {finding}" for finding in report.findings)
    parts = [
        f"## {number}. {title}",
        text,
        *report.notes,
        *(table.to_markdown() for table in report.tables),
        f"![{report.shows}](experiments/{name}.svg)",
        f"Findings:\n\n{findings}",
    ]
    return "\n\n".join(parts)


def format_page(head: Sequence[str], sections: Sequence[str]) -> str:
    """Format the whole page."""
    return "\n\n".join(["# Experiments", *head, *sections]) + "\n"
