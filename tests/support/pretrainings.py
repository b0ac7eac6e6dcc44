"""Backbones that are to be pretrained, in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import creation
from service.backbones.options import PretrainingCreate
from service.tables import new_id

if TYPE_CHECKING:
    from service.database import Database


def add_pretraining(database: Database, dataset: str, source: str, **options: object) -> str:
    """Add a backbone to pretrain; gives its id."""
    backbone = new_id("bb")
    wanted = PretrainingCreate.model_validate({"pretrain": {"dataset": dataset, "from": source, **options}})
    with database.writing() as session:
        creation.create_pretrained(session, backbone, wanted)
    return backbone
