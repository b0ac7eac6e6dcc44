"""Create backbones that are to be pretrained: check a request against its dataset and backbone, and add the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.catalog.backbone_pretraining import LEAST_IMAGES
from models.catalog.recipe import Recipe
from service.backbones import imports
from service.backbones.errors import ImagesUnfit
from service.backbones.tables import PRETRAINING_SOURCE
from service.jobs import creation as jobs
from service.jobs.errors import DatasetNotReady, DatasetUnknown
from service.statuses import BackboneStatus
from service.tables import Backbone

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.backbones.options import PretrainingCreate
    from service.tables import Dataset


def create_pretrained(
    session: Session, backbone_id: str, wanted: PretrainingCreate, created_by: str | None = None
) -> Backbone:
    """Add a backbone that is to be pretrained; `created_by` is the id of an API key.

    Raises DatasetUnknown, DatasetNotReady, ImagesUnfit, BackboneUnknown, BackboneNotReady.
    """
    pretrain = wanted.pretrain
    try:
        dataset = jobs.lock_ready_dataset(session, pretrain.dataset)
    except (DatasetUnknown, DatasetNotReady) as error:
        error.loc = "body.pretrain.dataset"
        raise
    _check_images(dataset, pretrain.method.kind)
    jobs.check(session, Recipe(), None, {"body.pretrain.from": pretrain.source})
    backbone = Backbone(
        id=backbone_id,
        source=PRETRAINING_SOURCE,
        status=BackboneStatus.PRETRAINING,
        attempt=0,
        crashes=0,
        event_seq=0,
        display_name=wanted.name or None,
        created_by=created_by,
        pretrained_from=pretrain.source,
        dataset_id=dataset.id,
        pretraining=pretrain.model_dump(mode="json", exclude={"source", "dataset"}),
        progress={},
    )
    session.add(backbone)
    session.flush()
    imports.add_event(session, backbone, "info", "queued", "Waiting for a worker", {})
    return backbone


def _check_images(dataset: Dataset, method: str) -> None:
    """Check that the images of a dataset fit a method. Raises ImagesUnfit."""
    if method == "supervised" and dataset.task != "single_label":
        labels = "no" if dataset.task == "unlabelled" else "several"
        raise ImagesUnfit(
            f"Images of dataset {dataset.id} carry {labels} labels, and the method supervised learns one an image: "
            "choose another method, or another dataset."
        )
    if dataset.images < LEAST_IMAGES:
        raise ImagesUnfit(
            f"Dataset {dataset.id} has {dataset.images} images; {LEAST_IMAGES} are needed to pretrain a backbone. "
            "Send more: a thousand and more are worth while."
        )
