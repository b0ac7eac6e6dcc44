"""Commands about jobs, against a service of canned answers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from graft import terminal
from graft.cli import app
from graft.job_commands import describe_job
from tests.support.records import make_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.misbehaving_server import Answer, Handler

JOB = f"job_{'01M8HXZQKWFJC5QAQ2XA37E3S9'}"
DATASET = f"ds_{'01M8HXZJNFEQXDPGYGJFAYEKNG'}"
EVENT = {"id": f"{JOB}.1", "seq": 1, "level": "info", "kind": "phase", "message": "Training", "data": {}}
EVENT |= {"time": "2026-11-28T12:00:01.000Z"}
FIELDS = {"id": JOB, "dataset": DATASET}


def answer(body: object) -> Answer:
    """An answer after the whole request has come."""

    def give(handler: Handler) -> None:
        handler.read_body()
        handler.give_json(body)

    return give


def page(*rows: object) -> Answer:
    """A page of a list, the last one."""
    return answer({"data": rows, "has_more": False})


@pytest.fixture
def service(server: type[Handler]) -> type[Handler]:
    """A service with a job whose training runs."""
    server.answers = {
        ("POST", "/v1/recipes/check"): answer({}),
        ("POST", "/v1/jobs"): answer(make_job(**FIELDS)),
        ("GET", f"/v1/jobs/{JOB}"): answer(make_job(**FIELDS, status="failed", error={"message": "No memory."})),
        ("GET", f"/v1/jobs/{JOB}/metrics"): page({"validation_accuracy": 0.25}, {"validation_accuracy": 0.75}),
        ("GET", f"/v1/jobs/{JOB}/events"): page(EVENT, {**EVENT, "level": "debug", "message": "Of no interest"}),
        ("GET", "/v1/jobs"): page(make_job(**FIELDS, phase="training")),
    }
    return server


def run(service: type[Handler], *arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [*arguments, "--url", service.url])


def test_a_detached_training_prints_its_id_and_returns(service: type[Handler]) -> None:
    sent: list[dict[str, Any]] = []

    def create(handler: Handler) -> None:
        sent.append(json.loads(handler.read_body()))
        handler.give_json(make_job(**FIELDS))

    service.answers["POST", "/v1/jobs"] = create
    train = ("train", DATASET, "--backbone", "local/small", "--set", "optimizer.kind=nesterov", "--detach")
    done = run(service, *train, "--publish", "flowers")
    assert (done.exit_code, done.output) == (0, f"Job {JOB}\n")
    assert sent[0]["recipe"] == {"optimizer": {"kind": "nesterov"}}
    assert (sent[0]["publish"], sent[0]["dataset"]) == ("flowers", DATASET)
    assert [path for _, path, _ in service.asked] == ["/v1/recipes/check", "/v1/jobs"], "checked before anything else"
    assert json.loads(run(service, *train, "--json").stdout)["id"] == JOB


def test_several_backbones_are_named_by_repeating_the_option(service: type[Handler]) -> None:
    sent: list[dict[str, Any]] = []

    def take(answer: object) -> Answer:
        def give(handler: Handler) -> None:
            sent.append(json.loads(handler.read_body()))
            handler.give_json(answer)

        return give

    service.answers["POST", "/v1/jobs"] = take(make_job(**FIELDS))
    service.answers["POST", "/v1/recipes/check"] = take({})
    named = ("--backbone", "local/small", "--backbone", "local/other", "--quality", "balanced")
    assert run(service, "train", DATASET, *named, "--detach").exit_code == 0
    assert [(one["backbone"], one["backbones"]) for one in sent] == [(None, ["local/small", "local/other"])] * 2


def test_a_recipe_that_is_refused_is_refused_before_anything_is_sent(service: type[Handler], tmp_path: Path) -> None:
    problem = {"code": "invalid_request", "detail": "body.recipe.optimizr: did you mean optimizer?"}
    service.answers["POST", "/v1/recipes/check"] = lambda handler: handler.give_json(problem, 422)
    (tmp_path / "1.jpg").write_bytes(b"1")
    done = run(service, "train", str(tmp_path), "--backbone", "b", "--set", "optimizr=adam")
    assert (done.exit_code, done.output) == (1, "body.recipe.optimizr: did you mean optimizer?\n")
    assert len(service.asked) == 1


def test_a_job_that_fails_ends_the_command_with_its_own_status(service: type[Handler]) -> None:
    stream = f"data: {json.dumps(EVENT)}\n\n".encode()
    service.answers["GET", f"/v1/jobs/{JOB}/events"] = lambda handler: handler.give(stream)
    done = run(service, "watch", JOB)
    assert done.exit_code == terminal.UNSUCCESSFUL
    assert done.output.splitlines() == [f"Job {JOB}", "12:00:01 Training", "No memory."]
    lines = run(service, "watch", JOB, "--json")
    assert lines.exit_code == terminal.UNSUCCESSFUL
    assert [json.loads(line)["message"] for line in lines.stdout.splitlines()] == ["Training"]


def test_a_table_cuts_no_id_in_a_narrow_terminal(service: type[Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.console, "width", 80)
    shown = run(service, "jobs").output
    assert JOB in shown
    assert DATASET in shown
    assert len({len(line.split(JOB)[0]) for line in shown.splitlines() if JOB in line}) == 1


def test_logs_are_those_of_a_level(service: type[Handler]) -> None:
    assert run(service, "logs", JOB).output == "2026-11-28 12:00:01 info    Training\n"
    assert "Of no interest" in run(service, "logs", JOB, "--level", "debug").output
    assert json.loads(run(service, "logs", JOB, "--json").stdout) == EVENT
    assert run(service, "logs", JOB, "--level", "loud").exit_code == 2


def test_a_job_is_described_with_its_curve(service: type[Handler]) -> None:
    shown = run(service, "job", JOB).output.splitlines()
    assert shown[0] == f"{JOB}: failed"
    assert "validation accuracy ▁█ 75.0% after the last epoch" in shown
    assert shown[-1] == "No memory."
    metrics = {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.25, "calibration_error": 0.125}}
    job = make_job(status="succeeded", stop_reason="stopped", metrics=metrics, checkpoints=["ckpt_1"])
    assert describe_job(job, []) == [
        "job_1: succeeded (stopped)",
        "local/small on ds_1",
        "validation accuracy 50.0%",
        "test accuracy 25.0%, calibration error 12.5%",
        "checkpoint ckpt_1",
    ]
    several = {"backbones": ["local/small", "local/other"], "waiting_for": "a worker"}
    running = describe_job(make_job(phase="training", **several), [])
    assert running[2:] == ["backbones named: local/small, local/other", "training, 0%", "waiting for a worker"]


def test_jobs_are_compared_by_results_and_by_what_differs(service: type[Handler]) -> None:
    jobs = [
        {
            "id": name,
            "status": "succeeded",
            "metrics": {"validation": {"accuracy": 0.5}, "test": {"map": 0.25}},
            "seconds": {"training": 2.0, "caching": 1.0},
        }
        for name in (JOB, "job_2")
    ]
    differences = {"optimizer": [{"kind": "adam", "lr": 0.1}, {"kind": "sgd"}], "epochs": [3, None]}
    body = {"data": jobs, "differences": differences, "same_test_images": False}
    service.answers["GET", "/v1/jobs/compare"] = answer(body)
    shown = run(service, "compare", JOB, "job_2").output
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()]
    assert rows[0] == ["id", "status", "validation", "test", "seconds", "optimizer", "epochs"]
    assert rows[1] == [JOB, "succeeded", "50.0%", "25.0%", "3", "kind=adam, lr=0.1", "3"]
    assert "cannot be compared" in shown
    assert json.loads(run(service, "compare", JOB, "--json").stdout) == json.loads(json.dumps(body))


CANDIDATE: dict[str, Any] = {
    "id": f"{JOB}.1",
    "number": 1,
    "name": "probe",
    "backbone": "local/other",
    "recipe": {"seed": 3},
    "reason": None,
    "is_best": False,
    "is_pareto": True,
    "validation_accuracy": {"share": 0.7, "low": 0.6, "high": 0.8},
    "validation_loss": 0.5,
    "epochs": 9,
    "seconds": 12.4,
    "checkpoint_bytes": 9_500_000,
    "seconds_per_image": 0.0123,
}
LEFT_OUT: dict[str, Any] = {
    **dict.fromkeys(CANDIDATE, None),
    "id": f"{JOB}.2",
    "number": 2,
    "name": "whole_network",
    "backbone": "local/small",
    "recipe": {},
    "reason": "the job was stopped",
    "is_best": False,
    "is_pareto": False,
    "seconds": 0.0,
}


def test_candidates_are_shown_with_their_figures_or_why_they_were_left_out(service: type[Handler]) -> None:
    service.answers["GET", f"/v1/jobs/{JOB}/candidates"] = page(CANDIDATE, LEFT_OUT)
    lines = [line.strip() for line in run(service, "candidates", JOB).output.splitlines()]
    names = ["number", "name", "backbone", "validation", "loss", "epochs", "seconds", "MB", "ms", "is"]
    assert re.split(r"\s{2,}", lines[0]) == names
    probe = [
        "1",
        "probe",
        "local/other",
        "70.0% (60.0%–80.0%)",
        "0.500",
        "9",
        "12",
        "9.5",
        "12.3",
        "on the Pareto front",
    ]
    assert re.split(r"\s{2,}", lines[1]) == probe
    assert lines[2].endswith("left out: the job was stopped")
    assert json.loads(run(service, "candidates", JOB, "--json").stdout) == [CANDIDATE, LEFT_OUT]


def test_another_candidate_is_delivered_by_a_job_of_its_recipe(service: type[Handler]) -> None:
    asked: list[dict[str, Any]] = []

    def start(handler: Handler) -> None:
        asked.append(json.loads(handler.read_body()))
        handler.give_json(make_job(**FIELDS))

    service.answers["GET", f"/v1/jobs/{JOB}/candidates"] = page(CANDIDATE)
    service.answers["GET", f"/v1/jobs/{JOB}"] = answer(make_job(**FIELDS, backbone="local/small"))
    service.answers["POST", "/v1/jobs"] = start
    assert run(service, "candidates", JOB, "--deliver", "1").output == f"Job {JOB}\n"
    assert asked[0]["recipe"] == {"seed": 3}
    assert (asked[0]["dataset"], asked[0]["backbone"]) == (DATASET, "local/other")
    refused = run(service, "candidates", JOB, "--deliver", "9")
    assert refused.exit_code
    assert "There is no candidate 9" in refused.output


@pytest.mark.parametrize("action", ["cancel", "pause", "stop", "resume"])
def test_each_action_prints_the_new_state(service: type[Handler], action: str) -> None:
    service.answers["POST", f"/v1/jobs/{JOB}/{action}"] = answer(make_job(**FIELDS, status="pausing"))
    assert run(service, action, JOB).output == "pausing\n"
    assert json.loads(run(service, action, JOB, "--json").stdout)["id"] == JOB
