"""HTML for notebooks: a job with its curves, a table of any object's fields, a bar of progress. No scripts in it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graft.record import Fields
    from graft.results.jobs import Job

WIDTH, HEIGHT, MARGIN = 300, 120, 6
COLOURS = {"train": "#d97706", "validation": "#2563eb"}
"""Colours of curves that are told apart on white and on black."""
LONGEST = 200
"""Characters of a field that are shown."""


def render_job(job: Job, epochs: Sequence[Fields]) -> str:
    """Render a job: its state, results, and the curves of loss and accuracy."""
    lines = [f"<b>{escape(job.name or job.id)}</b> · {escape(job.phase or job.status)}"]
    lines.append(f"<code>{escape(job.id)}</code> · {escape(job.backbone)} · <code>{escape(job.dataset)}</code>")
    if job.waiting_for:
        lines.append(f"waiting for {escape(job.waiting_for)}")
    if job.error:
        lines.append(escape(job.error["message"]))
    for split in ("validation", "test"):
        found = (job.metrics or {}).get(split) or {}
        accuracy = found.get("accuracy", found.get("map"))
        if accuracy is not None:
            lines.append(f"{split} accuracy {accuracy:.1%}")
    bar = "" if job.finished_at else render_progress("", round(job.progress.percent), 100)
    curves = _render_curves("loss", epochs) + _render_curves("accuracy", epochs) if epochs else ""
    return f"<div>{'<br>'.join(lines)}{bar}<div>{curves}</div></div>"


def render_progress(title: str, done: int, total: int) -> str:
    """Render a bar."""
    share = min(1.0, done / total) if total else 1.0
    bar = f'<progress value="{share:.3f}" max="1" style="width:20em"></progress>'
    return f"<div>{escape(title)} {bar} {share:.0%}</div>"


def render_fields(title: str, fields: Mapping[str, Any]) -> str:
    """Render a table of fields; long ones are cut."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{_shorten(value)}</td></tr>'
        for name, value in fields.items()
        if value not in (None, [], {})
    )
    return f"<b>{escape(title)}</b><table>{rows}</table>"


def _shorten(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _render_curves(metric: str, epochs: Sequence[Fields]) -> str:
    """Draw the curves of a metric over the epochs as SVG, for training and validation images."""
    curves = {split: [epoch[f"{split}_{metric}"] for epoch in epochs] for split in COLOURS}
    values = [value for curve in curves.values() for value in curve if value is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    lines = "".join(
        f'<polyline fill="none" stroke="{COLOURS[split]}" stroke-width="1.5" points="{_place(curve, low, high)}"/>'
        for split, curve in curves.items()
    )
    names = "".join(
        f'<text x="{MARGIN + 70 * place}" y="{HEIGHT + 14}" fill="{COLOURS[split]}">{split}</text>'
        for place, split in enumerate(curves)
    )
    form = "{:.1%}" if metric == "accuracy" else "{:.3g}"
    last = ", ".join(f"{split} {form.format(curve[-1])}" for split, curve in curves.items() if curve[-1] is not None)
    about = escape(f"{metric} of {len(epochs)} epochs, from {form.format(low)} to {form.format(high)}; last: {last}")
    return (
        f'<svg role="img" aria-label="{about}" width="{WIDTH + 70}" height="{HEIGHT + 20}" font-size="11"'
        f' fill="currentColor" style="margin-right:1em"><title>{about}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="currentColor" stroke-opacity=".25"/>'
        f'<text x="{WIDTH + 4}" y="10">{form.format(high)}</text>'
        f'<text x="{WIDTH + 4}" y="{HEIGHT}">{form.format(low)}</text>'
        f'<text x="{WIDTH - 60}" y="{HEIGHT + 14}">{metric}</text>{lines}{names}</svg>'
    )


def _place(curve: Sequence[float | None], low: float, high: float) -> str:
    """Place the values of a curve in the drawing: `x,y` of each, of one value alone at both ends."""
    curve = [*curve, *curve] if len(curve) == 1 else curve
    across, up = (WIDTH - 2 * MARGIN) / (len(curve) - 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1.0)
    return " ".join(
        f"{MARGIN + place * across:.1f},{HEIGHT - MARGIN - (value - low) * up:.1f}"
        for place, value in enumerate(curve)
        if value is not None
    )
