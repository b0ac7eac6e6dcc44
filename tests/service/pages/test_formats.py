"""Numbers as people read them."""

from __future__ import annotations

import pytest

from service.pages import formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0.0 s"),
        (0.0123, "12 ms"),
        (0.0996, "100 ms"),
        (9.9, "9.9 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formats.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_510_000, "1.51 MB"),
        (21_474_836_480, "21.5 GB"),
        (999_600, "1 MB"),
        (5_000_000_000_000_000_000, "5000 PB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert formats.format_bytes(count) == text


def test_counts_shares_and_numbers() -> None:
    assert formats.format_count(1234567) == "1,234,567"
    assert formats.format_short(5_400_000) == "5.4M"
    assert formats.format_short(None) == formats.format_share(None) == formats.format_count(None) == "–"
    assert formats.format_share(0.9784) == "97.8%"
    assert formats.format_share(0.5, 0) == "50%"
    assert formats.format_number(0.00012345) == "0.0001234"


def test_times_are_utc() -> None:
    assert formats.format_time(0) == "1970-01-01 00:00"
    assert formats.format_machine_time(1.0) == "1970-01-01T00:00:01Z"
