"""Candidates that a job's attempts have tried, on both databases: each once, as it was tried last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from models.messages import CandidateTried, Noted
from models.pipeline.spec import BackboneSpec
from service.jobs import repository
from service.statuses import JobStatus
from service.tables import Event, Job, JobBackbone
from tests.support.checkpoints import add_small_checkpoint
from tests.support.jobs import add_jobs, begun, read_job
from workers.lease import fence

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings


def test_a_candidate_that_is_tried_again_takes_the_place_of_the_one_before(
    database: Database, settings: Settings
) -> None:
    add_jobs(database, 1)
    backbone = "hf/some/net"
    tried = CandidateTried(
        number=1, name="probe", backbone=backbone, recipe={"seed": 0}, is_better=True, validation_accuracy=0.5
    )
    left_out = CandidateTried(
        number=2, name="whole_network", backbone=backbone, recipe={}, reason="the time budget is used up"
    )
    for accuracy in (0.5, 0.75):
        attempt, _ = begun(database, settings)
        events = (tried.model_copy(update={"validation_accuracy": accuracy}), left_out)
        with database.writing() as session:
            attempt.record(session, fence(session, attempt.claim), [one.model_dump_json().encode() for one in events])
    with database.reading() as session:
        rows = repository.find_candidates(session, attempt.claim.id)
        event = list(session.scalars(select(Event).order_by(Event.seq)))[-1]
        assert [(row.name, row.backbone, row.validation_accuracy, row.reason) for row in rows] == [
            ("probe", backbone, 0.75, None),
            ("whole_network", backbone, None, "the time budget is used up"),
        ]
        assert event.kind == "candidate_tried"
        assert event.message == "whole_network of hf/some/net is left out: the time budget is used up"
        assert "recipe" not in event.data


def test_each_backbone_is_loaded_from_its_own_folder_and_commit_and_the_best_is_the_jobs(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    checkpoint, other = add_small_checkpoint(database, tmp_path), "hf/some/net"
    with database.writing() as session:
        job = session.scalars(select(Job)).one()
        job.status, job.backbone, job_id = JobStatus.QUEUED, other, job.id
        session.add_all(
            JobBackbone(job_id=job.id, position=place, backbone=name) for place, name in enumerate((other, checkpoint))
        )
    attempt, spec = begun(database, settings)
    assert spec.backbone == spec.backbones[0] == BackboneSpec(name=other)
    assert spec.backbones[1].name == checkpoint
    assert spec.backbones[1].folder is not None
    assert (spec.backbones[1].folder / "model.safetensors").exists()

    prepared = {"backbone_revision": "0" * 40, "backbone": other, "candidate": "probe"}
    told: list[Noted | CandidateTried] = [
        Noted(kind="prepared", message="It is ready", data=prepared),
        CandidateTried(number=1, name="probe", backbone=other, recipe={}, is_better=True, validation_accuracy=0.5),
        CandidateTried(number=2, name="probe", backbone=checkpoint, recipe={}, is_better=True, validation_accuracy=0.7),
        CandidateTried(number=3, name="whole_network", backbone=checkpoint, recipe={}, validation_accuracy=0.7),
    ]
    with database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), [one.model_dump_json().encode() for one in told])
    assert read_job(database, job_id).backbone == checkpoint
    _, spec = begun(database, settings)
    assert spec.backbone == spec.backbones[1]
    assert [(one.name, one.commit) for one in spec.backbones] == [(other, "0" * 40), (checkpoint, None)]
