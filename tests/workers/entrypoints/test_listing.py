"""The listing of backbones, with a folder among them that holds none that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.runtime.supervisor_callbacks import Context
from tests.support.small_backbone import write_backbone
from workers.entrypoints import inspection, listing
from workers.work.inspection import InspectionOrder, ListingOrder

if TYPE_CHECKING:
    from pathlib import Path


def test_one_broken_folder_leaves_all_others_listed(tmp_path: Path) -> None:
    write_backbone(tmp_path / "good")
    (write_backbone(tmp_path / "bad") / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    rows = {row.id: row for row in listing.work(ListingOrder(backbones=tmp_path), Context())}
    assert len(rows) > 1500, "timm's too"
    assert rows["local/good"].input_size == [3, 32, 32]
    assert rows["local/bad"].model_dump() == {
        "id": "local/bad",
        "source": "local",
        "architecture": None,
        "parameters": None,
        "input_size": None,
        "licence": None,
        "accuracy": None,
        "multiply_adds": None,
    }


def test_the_inspection_of_a_broken_folder_says_what_is_wrong(tmp_path: Path) -> None:
    (write_backbone(tmp_path / "bad") / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    (found,) = inspection.work(InspectionOrder(name="local/bad", backbones=tmp_path, folder=None), Context())
    assert found.error is not None
    assert found.error["code"] == "weights_broken"
    assert "header" in found.error["message"]
