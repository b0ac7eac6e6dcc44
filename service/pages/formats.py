"""Numbers and times as people read them: shares in percent, sizes in powers of 1,000, seconds as minutes and hours."""

from __future__ import annotations

from datetime import UTC, datetime

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
COUNTS = ("", "K", "M", "G", "T")
DASH = "–"


def format_share(share: float | None, digits: int = 1) -> str:
    """Format a fraction: 0.978 as 97.8%."""
    return DASH if share is None else f"{100 * share:.{digits}f}%"


def format_count(count: float | None) -> str:
    """Format a whole number with separators: 1,234."""
    return DASH if count is None else f"{count:,.0f}"


def format_short(count: float | None) -> str:
    """Format a large number shortly: 5.4M."""
    return DASH if count is None else _scale(count, COUNTS, "")


def format_bytes(count: float | None) -> str:
    """Format a size: 1.5 MB."""
    return DASH if count is None else _scale(count, UNITS, " ")


def format_seconds(seconds: float | None) -> str:
    """Format a duration: 12 ms, 0.5 s, 42 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return DASH
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for large, small, names in ((days, hours, "d h"), (hours, minutes, "h min"), (minutes, rest, "min s")):
        if large:
            first, second = names.split()
            return f"{large} {first} {small} {second}" if small else f"{large} {first}"
    return f"{rest} s"


def format_number(value: float | None, digits: int = 4) -> str:
    """Format a number with a few significant digits: 0.001, 1.474."""
    return DASH if value is None else f"{value:.{digits}g}"


def format_time(seconds: float) -> str:
    """Format a time for people whose browser runs no scripts, in UTC: 2026-11-29 14:05."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def format_machine_time(seconds: float) -> str:
    """Format a time as HTML's `datetime` has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _scale(value: float, units: tuple[str, ...], space: str) -> str:
    place = 0
    while value >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    text = f"{value:.0f}" if place == 0 or value >= 99.5 else f"{value:.3g}" if value < 9.995 else f"{value:.1f}"
    return f"{text}{space}{units[place]}" if units[place] else text
