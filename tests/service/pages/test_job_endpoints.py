"""Views of jobs: what one can do in each state, results, and comparisons."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

import pytest

from service.jobs import repository
from service.statuses import JobStatus
from service.tables import Job
from tests.support.jobs import make_candidate, set_status
from tests.support.requests import BACKBONES, create_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database


@pytest.mark.parametrize(
    ("status", "verbs"),
    [
        (JobStatus.QUEUED, {"pause", "cancel"}),
        (JobStatus.RUNNING, {"pause", "stop", "cancel"}),
        (JobStatus.PAUSED, {"resume", "cancel"}),
        (JobStatus.CANCELLED, set()),
    ],
)
def test_only_what_the_state_allows_is_offered(
    browse: Callable[..., Response], db: Database, job: str, status: JobStatus, verbs: set[str]
) -> None:
    set_status(db, job, status)
    text = browse(f"/jobs/{job}").text
    offered = {verb for verb in ("pause", "stop", "cancel", "resume") if f'hx-post="/v1/jobs/{job}/{verb}"' in text}
    assert offered == verbs
    assert (f'hx-delete="/v1/jobs/{job}"' in text) == (status == JobStatus.CANCELLED)


def test_the_state_is_asked_for_until_the_job_ends(browse: Callable[..., Response], db: Database, job: str) -> None:
    assert f'hx-get="/jobs/{job}/state?was=queued"' in browse(f"/jobs/{job}/state").text
    assert "HX-Refresh" not in browse(f"/jobs/{job}/state?was=queued").headers
    assert browse(f"/jobs/{job}/state?was=paused").headers["HX-Refresh"] == "true", "its buttons are others now"
    assert "HX-Refresh" not in browse(f"/jobs/{job}/state").headers
    set_status(db, job, JobStatus.CANCELLED)
    assert browse(f"/jobs/{job}/state").headers["HX-Refresh"] == "true"


def test_results_are_shown_with_their_uncertainty(browse: Callable[..., Response], done: str) -> None:
    text = browse(f"/jobs/{done}").text
    assert "Of 20 test images that it was not trained on, it got 75% right." in text
    assert "expect 53% to 89%" in text  # Wilson's interval of 15 in 20
    assert "dog taken for cat" in text
    assert "1 min 15 s" in text


def test_events_are_shown_but_those_of_epochs(browse: Callable[..., Response], done: str) -> None:
    text = browse(f"/jobs/{done}").text
    assert "Succeeded: 75%" in text
    assert "Epoch 1<" not in text


def test_advice_leads_to_a_form_that_follows_it(browse: Callable[..., Response], done: str) -> None:
    address = f"/train?job={done}&amp;advice=overfitting"
    assert address in browse(f"/jobs/{done}").text
    assert '"dropout": 0.6' in browse(address.replace("&amp;", "&")).text


def test_advice_is_shown_as_a_job_with_its_changes_and_costs(
    browse: Callable[..., Response], client: TestClient, done: str
) -> None:
    assert f'hx-get="/jobs/{done}/advice?kind=overfitting"' in browse(f"/jobs/{done}").text
    text = browse(f"/jobs/{done}/advice?kind=overfitting", **{"HX-Request": "true"}).text
    assert "head.dropout" in text
    assert "Images to look at" in text
    (given,) = re.findall(r'data-creates="/v1/jobs" data-goes="/jobs/" data-body="([^"]*)"', text)
    body = json.loads(html.unescape(given))
    assert client.post("/v1/jobs", json=body).json()["recipe"]["head"]["dropout"] == 0.6


def test_advice_that_cannot_be_followed_says_why(browse: Callable[..., Response], db: Database, done: str) -> None:
    assert browse(f"/jobs/{done}/advice?kind=underfitting").status_code == 404, "no such finding"
    with db.writing() as session:
        row = session.get_one(Job, done)
        row.recipe = {**row.recipe, "search": {"trials": 4}}
        finding = {"kind": "underfitting", "epoch": 3, "message": "It underfits.", "advice": "Take head: mlp."}
        row.diagnosis = {"findings": [finding], "layers": []}
    text = browse(f"/jobs/{done}/advice?kind=underfitting").text
    assert "search" in text
    assert "data-creates" not in text
    with db.writing() as session:
        row = session.get_one(Job, done)
        row.recipe = {**row.recipe, "optimizer": {"kind": "sgd", "lr": -1.0, "momentum": 0.9}, "search": None}
    text = browse(f"/jobs/{done}/advice?kind=underfitting").text
    assert "recipe.optimizer.sgd.momentum: Extra inputs are not permitted" in text
    assert "recipe.optimizer.sgd.lr: Input should be greater than 0, or &#39;auto&#39;" in text, "as the API says it"


def test_a_frozen_head_that_is_not_enough_leads_to_more_candidates(
    browse: Callable[..., Response], client: TestClient, db: Database, done: str
) -> None:
    with db.writing() as session:
        row = session.get_one(Job, done)
        resolved = {"engine": "openvino", "precision": "bfloat16", "cache": {"mode": "on", "views": 4}}
        row.recipe = {**row.recipe, "epochs": 200, "image_size": 96, **resolved}
        finding = {"kind": "head_not_enough", "epoch": 3, "message": "It gets 70%.", "advice": "Set quality: balanced."}
        row.diagnosis = {"findings": [finding], "layers": []}
    text = browse(f"/jobs/{done}/advice?kind=head_not_enough").text
    (given,) = re.findall(r'data-creates="/v1/jobs" data-goes="/jobs/" data-body="([^"]*)"', text)
    made = client.post("/v1/jobs", json=json.loads(html.unescape(given))).json()
    assert (made["recipe"]["quality"], made["recipe"]["image_size"], made["recipe"]["epochs"]) == (
        "balanced",
        96,
        "auto",
    )
    assert (made["recipe"]["engine"], made["recipe"]["precision"]) == ("auto", "auto")


def test_candidates_are_shown_and_another_one_can_be_delivered(
    browse: Callable[..., Response], client: TestClient, db: Database, done: str
) -> None:
    assert "Recipes that it has tried" not in browse(f"/jobs/{done}").text
    with db.writing() as session:
        for number in (1, 2):
            tried = {**make_candidate(number), "recipe": {"seed": number}, "seconds": 10.0 * number}
            tried["backbone"] = BACKBONES[number]
            repository.put_candidate(session, done, tried)
        left_out = {"reason": "the <time> is up", "validation_accuracy": None, "is_better": False}
        repository.put_candidate(session, done, {**make_candidate(3), **left_out})
    text = browse(f"/jobs/{done}").text
    assert "candidate_2 <strong>· best</strong>" in text
    assert "50.0% (35.2% to 64.8%)" in text
    assert "Left out: the &lt;time&gt; is up" in text
    (given,) = re.findall(r'data-creates="/v1/jobs" data-goes="/jobs/" data-body="([^"]*)"', text)
    made = client.post("/v1/jobs", json=json.loads(html.unescape(given))).json()
    assert made["recipe"]["seed"] == 1, "the best is delivered already"
    assert made["backbone"] == BACKBONES[1]
    assert made["name"].endswith(": candidate_1")


def test_the_backbones_of_a_job_and_the_candidate_that_it_tries_are_shown(
    browse: Callable[..., Response], client: TestClient, db: Database, dataset: str
) -> None:
    body = {"dataset": dataset, "backbones": BACKBONES[:2], "recipe": {"quality": "balanced"}}
    job = client.post("/v1/jobs", json=body).json()["id"]
    with db.writing() as session:
        row = session.get_one(Job, job)
        row.status, row.progress = JobStatus.RUNNING, {"percent": 5.0, "candidate": f"probe of {BACKBONES[0]}"}
        repository.put_candidate(session, job, {**make_candidate(1), "backbone": BACKBONES[0]})
    text = browse(f"/jobs/{job}").text
    assert ", ".join(BACKBONES[:2]) in text
    assert f"<dd>probe of {BACKBONES[0]}</dd>" in text
    assert f'candidate_1 <span class="mono small">{BACKBONES[0]}</span>' in text


def test_jobs_are_listed_by_state(browse: Callable[..., Response], job: str) -> None:
    assert f"/jobs/{job}" in browse("/jobs?status=queued").text
    assert f"/jobs/{job}" not in browse("/jobs?status=failed").text
    part = browse("/jobs", **{"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'hx-trigger="every 3s"' in part


def test_jobs_are_compared(
    browse: Callable[..., Response], client: TestClient, db: Database, dataset: str, done: str
) -> None:
    other = create_job(client, dataset, recipe={"optimizer": "sgd"})["id"]
    text = browse(f"/jobs/compare?id={done}&id={other}").text
    assert "optimizer.kind" in text
    assert "Accuracy, test" in text
    assert "not tested on the same images" in text
    for address in (f"/jobs/compare?id={done}&id={done}", "/jobs/compare"):
        response = browse(address)
        assert (response.status_code, "Choose 2 to 50 jobs in the list" in response.text) == (422, True)
