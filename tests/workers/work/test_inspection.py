"""Backbones that workers list and inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import listings
from service.statuses import BackboneStatus
from service.tables import Backbone
from workers.work.inspection import ListedBackbone

if TYPE_CHECKING:
    from service.database import Database

LISTED = ListedBackbone(
    id="local/a",
    source="local",
    architecture="resnet18",
    parameters=1,
    input_size=[3, 64, 64],
    licence=None,
    accuracy=None,
    multiply_adds=None,
)


def test_an_unchanged_backbone_keeps_its_inspection_when_a_worker_starts(database: Database) -> None:
    for listed, status in (
        (LISTED, "listed"),
        (LISTED, "inspected"),
        (LISTED.model_copy(update={"parameters": 2}), "listed"),
    ):
        with database.writing() as session:
            listings.replace(session, "w", 60, [listed.model_dump()])
        with database.writing() as session:
            row = session.get_one(Backbone, "local/a")
            assert row.status == status
            row.status, row.inspection = BackboneStatus.INSPECTED, {"cuts": []}
