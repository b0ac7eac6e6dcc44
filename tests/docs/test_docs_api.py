"""The reference of the API: the curl and the Python of each operation do what they say."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from graft.client import Client
from tests.support.repository import ROOT
from tests.support.snippets import Interpreter, Shell, read_snippets, run_snippet
from tools.api_examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Client, dict[str, str]], str]

pytestmark = pytest.mark.extended

PAGE = ROOT / "docs" / "api.md"
LOCAL = "local/rendered_shapes"
LONG: dict[str, Any] = {"epochs": 100_000, "early_stopping": None, "seed": 1}
"""Recipe of a job that runs until it is stopped."""


def make_job(client: Client, ids: dict[str, str], *, recipe: Any = None, until: str = "", then: str = "") -> str:
    """Make a job, wait until it is in a state or has ended, and change it."""
    job = str(client.create_job(ids["DATASET"], LOCAL, recipe=recipe)["id"])
    if until == "running":
        while client.metrics(job) == []:
            pass
    elif until:
        assert client.wait(job)["status"] == until
    if then == "cancel":
        client.cancel(job)
        client.wait(job)
    if then == "pause":
        client.pause(job)
        while client.job(job)["status"] != "paused":
            pass
    return job


def make_checkpoint(client: Client, ids: dict[str, str]) -> str:
    """Train a checkpoint that nothing uses."""
    return str(client.job(make_job(client, ids, until="succeeded"))["checkpoints"][0])


def make_dataset(client: Client, ids: dict[str, str]) -> str:
    """Upload a dataset that nothing uses."""
    return str(client.wait_for_dataset(client.create_dataset(folder_of(ids))["id"])["id"])


def make_upload(client: Client, ids: dict[str, str]) -> str:
    """Begin a resumable upload of photos.tar."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str((folder_of(ids).parent / "photos.tar").stat().st_size)}
    made = httpx.post(f"{client.url}/v1/uploads", headers=headers).raise_for_status()
    return made.headers["location"].rpartition("/")[2]


def make_prediction(client: Client, ids: dict[str, str], *, waits: bool = True) -> str:
    """Predict for the dataset."""
    prediction = str(client.create_prediction(ids["DATASET"], ["flowers"])["id"])
    if waits:
        assert client.wait_for_prediction(prediction)["status"] == "succeeded"
    return prediction


def make_recommendation(client: Client, ids: dict[str, str], *, waits: bool = True) -> str:
    """Rank the backbone of the guide on the dataset."""
    made = client.create_recommendation(ids["DATASET"], ["local/rendered_shapes"])
    if waits:
        assert client.wait_for_recommendation(made.id).status == "succeeded"
    return made.id


def make_export(client: Client, ids: dict[str, str]) -> str:
    """Export the checkpoint."""
    client.export(ids["CHECKPOINT"], folder_of(ids).parent / "export.pt2", "pt2")
    listed = httpx.get(f"{client.url}/v1/checkpoints/{ids['CHECKPOINT']}/exports").raise_for_status()
    return str(listed.json()["data"][0]["id"])


def make_backbone(client: Client, ids: dict[str, str]) -> str:
    """Import the checkpoint's file as a backbone."""
    client.download(ids["CHECKPOINT"], folder_of(ids).parent / "mine.safetensors")
    made = client.create_backbone(folder_of(ids).parent / "mine.safetensors")
    return str(client.wait_for_backbone(made["id"])["id"])


def folder_of(ids: dict[str, str]) -> Path:
    """The folder photos/."""
    return ROOT.__class__(ids["PHOTOS"])


MAKERS: dict[str, Make] = {
    "OTHER": partial(make_job, until="succeeded"),
    "UPLOAD": make_upload,
    "PREDICTION": make_prediction,
    "RECOMMENDATION": make_recommendation,
    "EXPORT": make_export,
    "BACKBONE": make_backbone,
    "KEY": lambda client, ids: str(client.create_key("other")["id"]),
    "DIGEST": lambda client, ids: str(next(client.images(ids["DATASET"]))["digest"]),
}
"""How the ids are made that the fixture has not."""
FRESH: dict[str, dict[str, Make]] = {
    "DELETE /v1/datasets/{dataset_id}": {"DATASET": make_dataset},
    "DELETE /v1/jobs/{job_id}": {"JOB": partial(make_job, recipe=LONG, then="cancel")},
    "POST /v1/jobs/{job_id}/cancel": {"JOB": partial(make_job, recipe=LONG)},
    "POST /v1/jobs/{job_id}/pause": {"JOB": partial(make_job, recipe=LONG)},
    "POST /v1/jobs/{job_id}/stop": {"JOB": partial(make_job, recipe=LONG, until="running")},
    "POST /v1/jobs/{job_id}/resume": {"JOB": partial(make_job, recipe=LONG, then="pause")},
    "GET /v1/jobs/{job_id}/trials": {"JOB": partial(make_job, recipe={"search": {"trials": 4}}, until="succeeded")},
    "DELETE /v1/checkpoints/{checkpoint_id}": {"CHECKPOINT": make_checkpoint},
    "POST /v1/predictions/{prediction_id}/cancel": {"PREDICTION": partial(make_prediction, waits=False)},
    "POST /v1/recommendations/{recommendation_id}/cancel": {
        "RECOMMENDATION": partial(make_recommendation, waits=False)
    },
}
"""Ids that an operation uses up, or that must be in a state of their own."""


def find_section(operation: str) -> str:
    """Find the section of an operation in the page."""
    method, path = operation.split()
    sections = re.split(r"^(?=###? )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = (section for section in sections if f"\n`{method} {path}`" in section)
    return section


@pytest.mark.parametrize("operation", [name for name, example in EXAMPLES.items() if not example.not_run])
def test_the_snippets_of_an_operation_succeed(
    operation: str,
    service: str,
    ids: dict[str, str],
    photos: Path,
    folder: Path,
    shell: Shell,
    interpreter: Interpreter,
) -> None:
    intro = next(snippet for snippet in read_snippets(PAGE.read_text(encoding="utf-8")))
    run_snippet(intro, PAGE, service, shell, interpreter)
    curl, python = read_snippets(find_section(operation))
    with Client(service) as client:
        prepare(operation, client, {**ids, "PHOTOS": str(folder / "photos")}, curl.code, shell, interpreter)
        run_snippet(curl, PAGE, service, shell, interpreter)
        prepare(operation, client, {**ids, "PHOTOS": str(folder / "photos")}, curl.code, shell, interpreter)
        run_snippet(python, PAGE, service, shell, interpreter)
        for job in client.jobs(status="running"):
            client.cancel(job["id"])
        if operation == "DELETE /v1/models/{name}":
            client.put_model("flowers", ids["CHECKPOINT"])


def prepare(
    operation: str, client: Client, ids: dict[str, str], code: str, shell: Shell, interpreter: Interpreter
) -> None:
    """Give the snippets the ids of which they speak."""
    makers = MAKERS | FRESH.get(operation, {})
    for name in sorted(set(re.findall(r"\$([A-Z]+)", code))):
        value = makers[name](client, ids) if name in makers else ids[name]
        assert shell.run(f"{name}={value}")[0] == 0
        assert interpreter.run(f"{name.lower()} = {value!r}", "ids", 1)[0] == 0
    if "best.safetensors" in code and operation == "POST /v1/backbones":
        client.download(ids["CHECKPOINT"], folder_of(ids).parent / "best.safetensors")
    if operation == "DELETE /v1/models/{name}":
        client.put_model("flowers", ids["CHECKPOINT"])
