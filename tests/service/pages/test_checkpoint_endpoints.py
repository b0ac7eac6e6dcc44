"""Exports of a checkpoint: offered, made when asked for, and shown with what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service.exports import repository
from service.tables import Export
from tests.support.checkpoints import add_small_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from httpx2 import Response

    from service.database import Database


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint."""
    return add_small_checkpoint(db, tmp_path)


def test_an_export_is_made_when_asked_for_and_shown_with_its_parity(
    browse: Callable[..., Response], db: Database, checkpoint: str
) -> None:
    address = f"/checkpoints/{checkpoint}/exports"
    text = browse(address).text
    assert text.count("Make it") == 6
    assert "every 2s" not in text
    made = browse(f"{address}?make=int8").text
    assert made.count("Make it") == 5
    assert "Being made" in made
    assert 'hx-trigger="every 2s"' in made
    with db.writing() as session:
        row = session.scalars(select(Export)).one()
        assert (row.format, row.options["precision"]) == ("onnx", "int8")
        parity = {"images": 40, "equal_labels": 0.975, "greatest_relative_difference": 0.012}
        report = {"parity": parity, "accuracy": 0.9, "original_accuracy": 0.925}
        repository.accept(session, row, file="exports/x", size=1_500_000, digest="0" * 64, report=report)
    ready = browse(address).text
    assert f'href="/v1/checkpoints/{checkpoint}/content?format=onnx&amp;precision=int8"' in ready
    assert "1.5 MB" in ready
    assert "The same answer for 97.5% of 40 images" in ready
    assert "Accuracy 90.0%, 92.5% before" in ready


def test_an_export_that_failed_says_why_and_can_be_made_again(
    browse: Callable[..., Response], db: Database, checkpoint: str
) -> None:
    browse(f"/checkpoints/{checkpoint}/exports?make=pt2")
    with db.writing() as session:
        repository.reject(session, session.scalars(select(Export)).one(), "parity_broken", "One label differs.")
    text = browse(f"/checkpoints/{checkpoint}/exports").text
    assert "One label differs." in text
    assert text.count("Make it") == 6
    assert browse("/checkpoints/ckpt_none/exports").status_code == 404
