"""CSV: no text of it is a formula."""

from __future__ import annotations

import csv
import io

import pytest

from service.csv_text import format_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula(start: str) -> None:
    text = format_csv([[f"{start}1", [f"{start}1", "x"]]])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [[f"'{start}1", f"'{start}1|x"]]


def test_numbers_stay_numbers() -> None:
    assert format_csv([[-1.5, 0.1234567891, None, True]]) == "-1.5,0.123457,,true\r\n"
