"""Reports of datasets are bounded; the list of all skipped files is not shortened."""

from __future__ import annotations

import io
import json

from models.datasets.report import (
    MAX_REPORT_BYTES,
    MAX_REPORTED,
    SkippedFile,
    build_report,
    sort_skipped,
    summarize,
    write_skipped,
)


def test_a_report_has_counts_and_the_first_files() -> None:
    skipped = [SkippedFile(f"{number}.png", "truncated", "Copy it again.") for number in range(MAX_REPORTED + 5)]
    report = build_report(7, [*skipped, SkippedFile("a.txt", "not_an_image", "No.")], ["classes are a, b", "more"], 12)
    assert (report["files"], report["accepted"]) == (MAX_REPORTED + 13, 7)
    assert report["counts"] == {"truncated": MAX_REPORTED + 5, "not_an_image": 1}
    assert (report["layout"], report["depth"]) == ("Classes are a, b; more", 12)
    assert [row["file"] for row in report["skipped"]] == [one.file for one in skipped[:MAX_REPORTED]]


def test_a_report_is_bounded_in_bytes_whatever_the_names() -> None:
    skipped = [SkippedFile("\n\u56fe" * 4000, "code", "m" * 5000) for _ in range(MAX_REPORTED)]
    report = build_report(0, skipped, ["n" * 100_000], None)
    assert 0 < len(report["skipped"]) < MAX_REPORTED
    assert len(json.dumps(report)) < MAX_REPORT_BYTES + 10_000


def test_all_skipped_files_are_written_as_lines() -> None:
    file = io.BytesIO()
    write_skipped(file, [SkippedFile("a\nb\udcfc.png", "archive_unsafe_path", "Rename it.")] * 3000)
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert rows == [{"file": "a\\nb\\udcfc.png", "code": "archive_unsafe_path", "message": "Rename it."}] * 3000


def test_damage_comes_first_and_files_of_systems_last() -> None:
    files = [
        SkippedFile("junk", "system_file", "", is_damage=False),
        SkippedFile("notes", "not_an_image", "", is_damage=False),
        SkippedFile("bad", "truncated", ""),
    ]
    assert [one.file for one in sort_skipped(files)] == ["bad", "notes", "junk"]


def test_problems_are_summarized_by_code() -> None:
    bad = [SkippedFile("a.png", "truncated", "Copy it."), SkippedFile("b", "x", ""), SkippedFile("c", "truncated", "")]
    assert summarize(bad) == "(2 truncated, 1 x). First: a.png: Copy it."
