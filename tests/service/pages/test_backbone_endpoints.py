"""Views of backbones, and of imports: what is asked for is proposed, and reports are read in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.backbones import imports, pretraining
from service.tables import Backbone
from tests.support.datasets import add_dataset
from tests.support.pretrainings import add_pretraining
from tests.support.requests import BACKBONES

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database

PROPOSAL = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "channel_order": "bgr", "crop_pct": None}
REPORT: dict[str, Any] = {
    "format": "onnx",
    "route": "ONNX, read by Graft's own importer",
    "matched": 42,
    "left": ["a softmax at the end"],
    "classes": 10,
    "labels": None,
    "verdict": "verified",
    "numeric": {
        "message": "It agrees with onnxruntime.",
        "comparisons": [
            {
                "images": "random",
                "batch": 3,
                "count": 6,
                "greatest_difference": 1e-6,
                "spread": 0.24,
                "top1_agreement": 1.0,
            }
        ],
    },
    "structure": {"cuts": 21, "exact_cuts": ["conv1", "pool"]},
    "preprocessing": {
        "used": {"mean": [0.5, 0.5, 0.5], "input_size": [3, 32, 32], "interpolation": "bicubic", "crop_mode": None},
        "sources": {"mean": "user", "input_size": "file", "interpolation": "assumed"},
    },
    "samples": {"accuracy": 0.9, "images": 20},
    "notes": ["The batch is left open."],
    "seconds": 75.0,
}


@pytest.fixture
def imported(client: TestClient) -> str:
    """The id of a backbone that is being imported."""
    query = {"name": "mine", "labels": "cat\ndog"}
    return str(client.post("/v1/backbones", params=query, content=b"\x08\x07\x12\x07pytorch\n").json()["id"])


def test_backbones_are_searched(browse: Callable[..., Response]) -> None:
    name = BACKBONES[0]
    assert f"/backbones/{name}" in browse(f"/backbones?q={name}").text
    part = browse("/backbones?q=nothing", **{"HX-Request": "true"}).text
    assert "No backbone matches" in part
    assert "<html" not in part


def test_a_pretraining_is_shown_until_it_has_ended(browse: Callable[..., Response], db: Database) -> None:
    dataset = add_dataset(db, images=100)
    backbone = add_pretraining(db, dataset, BACKBONES[0], method="masked")
    with db.writing() as session:
        session.get_one(Backbone, backbone).progress = {"percent": 42.0}
    page = browse(f"/backbones/{backbone}").text
    assert all(words in page for words in ("Pretraining", BACKBONES[0], f"/data/{dataset}", "(masked)", "42.0 %"))
    assert 'hx-trigger="every 1500ms"' in page
    assert "Waiting for a worker" in page
    with db.writing() as session:
        row = session.get_one(Backbone, backbone, with_for_update=True)
        pretraining.reject(session, row, "training_diverged", "Set method.lr to less.")
    page = browse(f"/backbones/{backbone}").text
    assert "Set method.lr to less." in page
    assert "/inspect" not in page


def test_a_backbone_can_be_inspected_from_its_view(browse: Callable[..., Response], client: TestClient) -> None:
    name = BACKBONES[0]
    assert f'hx-post="/v1/backbones/{name}/inspect"' in browse(f"/backbones/{name}").text
    client.post(f"/v1/backbones/{name}/inspect")
    assert 'hx-trigger="every 1500ms"' in browse(f"/backbones/{name}").text


def test_the_list_offers_to_find_what_is_not_known(browse: Callable[..., Response], client: TestClient) -> None:
    name = BACKBONES[0]
    assert f'hx-post="/v1/backbones/{name}/inspect"' in browse("/backbones").text
    client.post(f"/v1/backbones/{name}/inspect")
    assert f'hx-post="/v1/backbones/{name}/inspect"' not in browse("/backbones").text


def test_an_import_asks_for_a_file_and_nothing_else(browse: Callable[..., Response]) -> None:
    text = browse("/backbones/import").text
    assert "At most 8.59 GB." in text
    assert " required" not in text.partition('id="import"')[2]


def test_what_an_import_lacks_is_proposed(browse: Callable[..., Response], db: Database, imported: str) -> None:
    assert 'hx-trigger="every 1500ms"' in browse(f"/backbones/{imported}").text
    with db.writing() as session:
        row = session.get_one(Backbone, imported, with_for_update=True)
        report = {"preprocessing": {"missing": ["mean"], "proposal": PROPOSAL, "reasons": ["Most are trained so."]}}
        imports.reject(session, row, "preprocessing_needed", "Say mean and std.", report)
    assert browse(f"/backbones/{imported}", **{"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    text = browse(f"/backbones/{imported}").text
    for part in (
        f'data-answers="{imported}"',
        "The file does not say: mean.",
        "Most are trained so.",
        'value="0.5, 0.5, 0.5"',
        'value="0.25, 0.25, 0.25"',
        '<option value="bgr" selected>',
        '<option value="own" selected>',
        "cat\ndog</textarea>",
        "Waiting for a worker",
    ):
        assert part in text
    assert "hx-trigger" not in text


def test_an_import_that_failed_for_good_asks_for_nothing(
    browse: Callable[..., Response], db: Database, imported: str
) -> None:
    with db.writing() as session:
        row = session.get_one(Backbone, imported, with_for_update=True)
        imports.reject(session, row, "file_broken", "It ends too early.", None)
    text = browse(f"/backbones/{imported}").text
    assert "It ends too early." in text
    assert "data-answers" not in text
    assert f'hx-delete="/v1/backbones/{imported}"' in text


def test_a_report_is_read_in_words(browse: Callable[..., Response], db: Database, imported: str) -> None:
    with db.writing() as session:
        row = session.get_one(Backbone, imported, with_for_update=True)
        summary = {"architecture": "graph", "parameters": 7, "input_size": [3, 32, 32], "licence": None}
        imports.accept(session, row, summary=summary, files={}, inspection={"cuts": []}, report=REPORT)
    text = browse(f"/backbones/{imported}").text
    for part in (
        "It computes what the original computes.",
        "It agrees with onnxruntime.",
        "a softmax at the end",
        "to the bit, at 2 cuts that were run, of 21",
        "90.0% right of 20",
        "3 × 32 × 32",
        "nobody: assumed",
        "6 random images",
        "The batch is left open.",
        "1 min 15 s",
    ):
        assert part in text
