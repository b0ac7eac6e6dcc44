"""Create jobs: check a request against its dataset and backbone, and add the row."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING

from service.backbones import repository as backbones
from service.backbones.tables import CHECKPOINT, OWN_SOURCES, PRETRAINING_SOURCE
from service.checkpoints import repository as checkpoints
from service.jobs import repository
from service.jobs.errors import (
    BackboneMissing,
    BackboneNamedTwice,
    BackboneNotReady,
    BackbonesContradict,
    BackbonesNeedQuality,
    BackboneUnknown,
    ClassUnknown,
    DatasetNotReady,
    DatasetUnknown,
    DatasetUnlabelled,
    RecipeDoesNotFit,
    TeacherDoesNotFit,
    TeacherUnknown,
)
from service.statuses import BackboneStatus, DatasetStatus, JobStatus
from service.tables import Backbone, Checkpoint, Dataset, Job, JobBackbone, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from models.catalog.recipe import Recipe
    from service.jobs.schemas import JobCreate, TrainingRequest

NAMES_SHOWN = 10
"""Most classes that a message names."""


def create_job(session: Session, request: JobCreate, created_by: str | None = None) -> Job:
    """Add a queued job and its first event; `created_by` is the id of an API key.

    Raises BackboneMissing, what `list_named` raises, and what `check` raises.
    """
    named = list_named(request)
    if not named:
        raise BackboneMissing("A job trains a backbone: name one. GET /v1/backbones lists those that exist.")
    other = check(session, request.recipe, request.dataset, named)
    first, *others = named.values()
    job = Job(
        id=new_id("job"),
        status=JobStatus.QUEUED,
        name=request.name,
        created_by=created_by,
        dataset_id=request.dataset,
        other_dataset_id=other,
        backbone=first,
        recipe=request.recipe.model_dump(mode="json"),
        details=request.metadata,
        publish=None if request.publish is None else request.publish.model_dump(),
        priority=request.priority,
        is_stopping=False,
        attempt=0,
        crashes=0,
        progress={},
        seconds={},
        event_seq=0,
    )
    session.add(job)
    session.flush()
    if others:
        session.add_all(
            JobBackbone(job_id=job.id, position=position, backbone=name) for position, name in enumerate(named.values())
        )
    repository.add_event(session, job, "info", "queued", "Waiting for a worker", {})
    return job


def list_named(request: TrainingRequest) -> dict[str, str]:
    """List the backbones that a request names, by the field that names each, such as body.backbone.

    Raises BackbonesContradict, BackbonesNeedQuality, BackboneNamedTwice.
    """
    if request.backbones is None:
        return {} if request.backbone is None else {"body.backbone": request.backbone}
    if request.backbone is not None:
        raise BackbonesContradict("The request has both backbone and backbones: leave one of them out.")
    if request.recipe.quality == "fast":
        raise BackbonesNeedQuality(
            "Only the quality balanced or best tries several backbones: set it in the recipe, or name one backbone."
        )
    twice = [name for name, count in Counter(request.backbones).items() if count > 1]
    if twice:
        raise BackboneNamedTwice(f"The request names the backbone {twice[0]} twice: name each once.")
    return {f"body.backbones.{position}": name for position, name in enumerate(request.backbones)}


def check(session: Session, recipe: Recipe, dataset: str | None, backbones: Mapping[str, str]) -> str | None:
    """Check a recipe against the dataset and the backbones that are given; returns the dataset of its pretraining.

    backbones: names, by the field that names each.

    Raises: DatasetUnknown, DatasetNotReady, DatasetUnlabelled, RecipeDoesNotFit, ClassUnknown, TeacherUnknown,
    TeacherDoesNotFit, BackboneUnknown, BackboneNotReady.
    """
    ready = None if dataset is None else lock_ready_dataset(session, dataset)
    if ready is not None:
        _check_recipe(recipe, ready)
    if recipe.distillation is not None:
        _check_teacher(session, recipe.distillation.teacher, ready)
    other = _check_other_dataset(session, recipe)
    for loc, name in backbones.items():
        try:
            found = _check_backbone(session, name)
        except (BackboneUnknown, BackboneNotReady) as error:
            error.loc = loc
            raise
        if found is not None and found.dataset_id is not None and found.dataset_id == dataset:
            _check_fractions(recipe, found)
    return other


def lock_ready_dataset(session: Session, dataset_id: str) -> Dataset:
    """Get a dataset that is ready, share-locked, so that it cannot be deleted before the commit.

    Raises DatasetUnknown, DatasetNotReady.
    """
    dataset = session.get(Dataset, dataset_id, with_for_update={"read": True, "key_share": True})
    if dataset is None:
        raise DatasetUnknown(f"There is no dataset {dataset_id}; POST /v1/datasets makes one.")
    if dataset.status == DatasetStatus.VALIDATING:
        raise DatasetNotReady(f"Dataset {dataset.id} is still being validated; try again when it is ready.")
    if dataset.status != DatasetStatus.READY:
        assert dataset.error is not None
        raise DatasetNotReady(f"Dataset {dataset.id} failed validation: {dataset.error['message']}")
    return dataset


def _check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Check that the recipe fits the dataset's task and classes.

    Raises DatasetUnlabelled, RecipeDoesNotFit, ClassUnknown.
    """
    assert dataset.task is not None
    if dataset.task == "unlabelled":
        raise DatasetUnlabelled(
            f"The images of dataset {dataset.id} have no labels (labels=none); there is nothing to train on. Send them "
            "again in class folders or with a table of labels."
        )
    try:
        loss = recipe.for_task(dataset.task).loss
    except ValueError as error:
        raise RecipeDoesNotFit(f"The recipe does not fit dataset {dataset.id}: {error}.") from error
    assert loss != "auto"
    classes = [entry["name"] for entry in dataset.classes]
    unknown = sorted(set(loss.class_weights) - set(classes)) if isinstance(loss.class_weights, dict) else []
    if unknown:
        raise ClassUnknown(
            f"class_weights names {', '.join(unknown)}; the classes of {dataset.id} are {', '.join(classes)}."
        )


def _check_teacher(session: Session, teacher: str, dataset: Dataset | None) -> None:
    """Check that a checkpoint exists, and knows the classes of the dataset; it cannot be deleted before the commit.

    Raises TeacherUnknown, TeacherDoesNotFit.
    """
    if not checkpoints.lock_against_deletion(session, teacher):
        raise TeacherUnknown(
            f"There is no checkpoint {teacher}: it may have been deleted. GET /v1/jobs/JOB/checkpoints lists a job's."
        )
    if dataset is None:
        return
    checkpoint = session.get_one(Checkpoint, teacher)
    known, wanted = set(checkpoint.classes), {entry["name"] for entry in dataset.classes}
    if known != wanted:
        raise TeacherDoesNotFit(
            f"A teacher must have the dataset's classes. {teacher} lacks {_list_names(wanted - known)} of dataset "
            f"{dataset.id}, and has {_list_names(known - wanted)} that the dataset lacks."
        )
    task = session.get_one(Dataset, session.get_one(Job, checkpoint.job_id).dataset_id).task
    if task != dataset.task:
        raise TeacherDoesNotFit(
            f"Teacher {teacher} was trained on {task} images, and the images of dataset {dataset.id} are "
            f"{dataset.task}: choose one of the same task."
        )


def _list_names(names: set[str]) -> str:
    shown = sorted(names)[:NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown) or 'none'}{more}"


def _check_other_dataset(session: Session, recipe: Recipe) -> str | None:
    """Get the id of the dataset that pretraining names, which must be ready."""
    if recipe.pretraining is None or recipe.pretraining.dataset is None:
        return None
    try:
        other = lock_ready_dataset(session, recipe.pretraining.dataset)
    except (DatasetUnknown, DatasetNotReady) as error:
        error.loc = "body.recipe.pretraining.dataset"
        raise
    if recipe.pretraining.kind == "other_labels" and other.task != "single_label":
        labels = "no" if other.task == "unlabelled" else "several"
        raise RecipeDoesNotFit(
            f"Images of dataset {other.id} carry {labels} labels; pretrain on one with one label an image."
        )
    return other.id


def _check_fractions(recipe: Recipe, pretrained: Backbone) -> None:
    """Check that a job on the images of its backbone's pretraining tests on those that were left out there."""
    default = type(recipe)()
    if (recipe.validation_fraction, recipe.test_fraction) != (default.validation_fraction, default.test_fraction):
        raise RecipeDoesNotFit(
            f"Backbone {pretrained.id} was pretrained on images of {pretrained.dataset_id} that these fractions would "
            "validate or test on: leave validation_fraction and test_fraction out of the recipe."
        )


def _check_backbone(session: Session, name: str) -> Backbone | None:
    """Check that a backbone can be named; an uploaded one, or a checkpoint, cannot be deleted before the commit.

    Returns an uploaded or pretrained one.
    """
    if name.startswith(CHECKPOINT):
        if not checkpoints.lock_against_deletion(session, name):
            raise BackboneUnknown(
                f"There is no checkpoint {name}: it may have been deleted. GET /v1/jobs/JOB/checkpoints lists a job's."
            )
        return None
    found = backbones.lock_against_deletion(session, name)
    if found is not None and found.source in OWN_SOURCES:
        _require_ready(found)
        return found
    if backbones.can_be_named(session, name):
        return None
    if named := backbones.find_by_display_name(session, name):
        raise BackboneUnknown(f"Uploaded backbones are named by their id; that of {name} is {' or '.join(named)}.")
    backbones.require_listed(session)
    near = difflib.get_close_matches(name, backbones.list_names(session), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise BackboneUnknown(f"There is no backbone {name}. {hint}GET /v1/backbones?q= finds those that exist.")


def _require_ready(backbone: Backbone) -> None:
    participle = "pretrained" if backbone.source == PRETRAINING_SOURCE else "imported"
    if backbone.status in (BackboneStatus.IMPORTING, BackboneStatus.PRETRAINING):
        raise BackboneNotReady(f"Backbone {backbone.id} is still being {participle}; try again when it is ready.")
    if backbone.status != BackboneStatus.READY:
        assert backbone.error is not None
        raise BackboneNotReady(f"Backbone {backbone.id} could not be {participle}: {backbone.error['message']}")
