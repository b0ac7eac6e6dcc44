"""The promises of the HTTP interface, kept by a running service of each form."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from typing import TYPE_CHECKING

import httpx
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config

from graft.errors import GraftError
from graft.images import open_image
from tests.support.images import coloured_classes, png, write_tar, write_zip

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client
    from graft.jobs import Job

BACKBONE = "local/small"
ENDLESS = {"epochs": 100_000, "early_stopping": None}


@pytest.fixture(scope="session")
def job(client: Client, dataset: str) -> Job:
    """Create a job and wait until it has succeeded."""
    made = client.create_job(dataset, BACKBONE, {"epochs": 12}, name="first", metadata={"team": "contract"})
    return client.wait(made["id"])


def until(client: Client, job: str, *states: str, seconds: float = 30.0) -> Job:
    """Wait until the job is in one of these states."""
    end = time.monotonic() + seconds
    while (found := client.job(job))["status"] not in states:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_a_dataset_is_validated(client: Client, dataset: str) -> None:
    found = client.dataset(dataset)
    assert found["classes"] == [{"name": name, "count": 40} for name in ("blue", "green", "red")]
    assert (found["images"], found["task"]) == (120, "single_label")
    assert found["digest"].startswith("sha256:")
    layout = found["report"].pop("layout")
    assert "folders" in layout
    assert found["report"] == {"files": 120, "accepted": 120, "depth": None, "counts": {}, "skipped": []}


def test_a_broken_image_does_not_kill_a_dataset(client: Client, tmp_path: Path) -> None:
    files = {**coloured_classes(2, 20), "red/zero.png": b"", "red/cut.png": png(1)[:99], "green/x.txt": b"no"}
    made = client.wait_for_dataset(client.create_dataset(write_tar(tmp_path / "a.tar.gz", files, "w:gz"))["id"])
    assert made["status"] == "ready"
    assert {entry["file"]: entry["code"] for entry in made["report"]["skipped"]} == {
        "red/zero.png": "empty_file",
        "red/cut.png": "truncated",
        "green/x.txt": "not_an_image",
    }


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"red/1.png": png(1), "red/2.png": png(2)}, "too_few_classes"),
        ({"../red/1.png": png(1), "../green/2.png": png(2)}, "archive_unsafe_path"),
        ({"inner.zip": b"PK"}, "archive_nested"),
        ({"a/1.png": b"", "b/2.png": b""}, "no_images"),
    ],
)
def test_a_bad_archive_fails_with_advice_and_no_job_accepts_it(
    client: Client, tmp_path: Path, files: dict[str, bytes], code: str
) -> None:
    made = client.wait_for_dataset(client.create_dataset(write_zip(tmp_path / "a.zip", files))["id"])
    assert (made["status"], made["error"]["code"]) == ("failed", code)
    with pytest.raises(GraftError) as caught:
        client.create_job(made["id"], BACKBONE)
    assert caught.value.code == "dataset_not_ready"
    assert made["error"]["message"] in str(caught.value)


def test_a_job_succeeds_with_figures_that_fit_together(client: Client, job: Job) -> None:
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("succeeded", "epochs_done", 1), job["error"]
    assert '"auto"' not in json.dumps(job["recipe"])
    assert job["progress"]["percent"] == 100
    assert set(job["seconds"]) == {"preparing", "caching", "training", "evaluating", "storing"}
    assert job["metrics"]["test"]["accuracy"] > 0.6
    rows = client.metrics(job["id"])
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    metrics = job["metrics"]
    floor = max(baseline["validation_accuracy"] for baseline in metrics["baselines"].values())
    losses = {row["epoch"]: row["validation_loss"] for row in rows if row["validation_accuracy"] >= floor}
    losses[0] = metrics["baselines"]["lda"]["validation_loss"]
    best = min(losses, key=lambda epoch: losses[epoch])
    assert (metrics["best_epoch"], metrics["delivered"]) == (best, "epoch" if best else "lda")
    before = metrics["calibration"]["validation"]["before"]["loss"]
    assert before == pytest.approx(losses[best], rel=1e-4, abs=1e-6)
    # Every plain view, what epochs computed, and of the test images those that were computed exactly.
    assert 120 < job["cache"]["misses"] - sum(row["cache_misses"] for row in rows) <= 120 + 18
    assert job["created_at"] < job["started_at"] < job["finished_at"]


def test_events_are_numbered_without_gaps_and_can_be_read_from_anywhere(client: Client, job: Job) -> None:
    events = list(client.events(job["id"]))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "queued"
    assert events[-1]["kind"] == "succeeded"
    page = httpx.get(f"{client.url}/v1/jobs/{job['id']}/events", params={"limit": 1000}).json()
    assert page["data"] == events


def test_the_checkpoint_in_plain_timm_has_the_accuracy_that_was_reported(
    client: Client, job: Job, archive: Path, tmp_path: Path
) -> None:
    checkpoint = client.checkpoints(job["id"])[0]
    assert job["checkpoints"] == [checkpoint["id"]]
    assert (checkpoint["kind"], checkpoint["classes"]) == ("best", ["blue", "green", "red"])
    file = client.download(checkpoint["id"], tmp_path / "best.safetensors")
    assert checkpoint["digest"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    arguments = json.loads(metadata["model_args"])
    network = timm.create_model(metadata["architecture"], num_classes=int(metadata["num_classes"]), **arguments).eval()
    network.load_state_dict(load_file(file))
    transform = create_transform(**resolve_data_config(json.loads(metadata["pretrained_cfg"])))
    classes = json.loads(metadata["class_names"])
    assert metadata["job"] == job["id"]
    with zipfile.ZipFile(archive) as images, torch.inference_mode():
        right = [
            classes[int(network(transform(open_image(images.open(name), metadata))[None]).argmax())]
            == name.split("/")[0]
            for name in images.namelist()
        ]
    # Of all 120 images; those of the test are 18 of them.
    assert sum(right) / len(right) == pytest.approx(job["metrics"]["test"]["accuracy"], abs=0.2)


def test_lists_find_the_job_by_state_and_label(client: Client, job: Job) -> None:
    query = {"status": "succeeded", "metadata[team]": "contract"}
    assert [found["id"] for found in client.jobs(**query)] == [job["id"]]
    assert job["id"] in [found["id"] for found in client.jobs(dataset=job["dataset"], backbone=BACKBONE)]


def test_a_second_job_on_the_same_images_computes_nothing(client: Client, dataset: str, job: Job) -> None:
    again = client.wait(client.create_job(dataset, BACKBONE, {"epochs": 12})["id"])
    assert again["cache"]["misses"] == 0
    assert again["metrics"] == job["metrics"]
    tensors = [client.checkpoint(done["checkpoints"][0]) for done in (job, again)]
    assert tensors[0]["bytes"] == pytest.approx(tensors[1]["bytes"], abs=64), "only the job's own name differs"


def test_a_running_job_is_cancelled_within_seconds_and_then_deleted(client: Client, dataset: str) -> None:
    made = client.create_job(dataset, BACKBONE, ENDLESS)
    until(client, made["id"], "running")
    while not client.metrics(made["id"]):
        time.sleep(0.05)
    assert client.cancel(made["id"])["status"] == "cancelling"
    until(client, made["id"], "cancelled", seconds=5)
    assert list(client.events(made["id"]))[-1]["kind"] == "cancelled"
    httpx.delete(f"{client.url}/v1/jobs/{made['id']}").raise_for_status()
    with pytest.raises(GraftError, match="There is no job"):
        client.job(made["id"])


def test_a_paused_job_resumes_and_ends_as_one_that_was_not_paused(client: Client, dataset: str, job: Job) -> None:
    made = client.create_job(dataset, BACKBONE, {"epochs": 12, "averaging": {"decay": 0.5}})["id"]
    client.pause(made)
    until(client, made, "paused", seconds=5)
    assert client.pause(made)["status"] == "paused"
    assert client.job(made)["queue_position"] is None
    assert client.resume(made)["status"] == "queued"
    until(client, made, "running")
    client.pause(made)
    until(client, made, "paused", seconds=5)
    with pytest.raises(GraftError, match="only a running job can be stopped"):
        client.stop(made)
    client.resume(made)
    paused = client.wait(made)
    assert paused["status"] == "succeeded"
    assert [event["kind"] for event in client.events(made)].count("paused") == 2
    straight = client.wait(client.create_job(dataset, BACKBONE, {"epochs": 12, "averaging": {"decay": 0.5}})["id"])
    assert paused["metrics"] == straight["metrics"]
    with pytest.raises(GraftError, match="is succeeded; only a"):
        client.pause(made)
    with pytest.raises(GraftError, match="only a paused job can be resumed"):
        client.resume(made)


def test_a_job_that_is_stopped_keeps_the_best_and_is_tested(client: Client, dataset: str) -> None:
    made = client.create_job(dataset, BACKBONE, ENDLESS)["id"]
    until(client, made, "running")
    while not client.metrics(made):
        time.sleep(0.05)
    assert client.stop(made)["status"] == "running"
    client.stop(made)
    until(client, made, "succeeded", seconds=10)
    ended = client.job(made)
    assert ended["stop_reason"] == "stopped"
    assert ended["metrics"]["test"]["accuracy"] > 0.3
    assert ended["metrics"]["best_epoch"] <= len(client.metrics(made))
    assert [event["kind"] for event in client.events(made)].count("stopping") == 1


def test_the_job_with_the_highest_priority_is_next(client: Client, dataset: str) -> None:
    running = client.create_job(dataset, BACKBONE, ENDLESS)["id"]
    until(client, running, "running")
    usual, urgent = (client.create_job(dataset, BACKBONE, {"epochs": 1}, priority=p)["id"] for p in (0, 7))
    assert [client.job(waiting)["queue_position"] for waiting in (usual, urgent)] == [2, 1]
    assert client.job(urgent)["priority"] == 7
    client.cancel(running)
    ended = [client.wait(waiting) for waiting in (usual, urgent)]
    assert ended[1]["started_at"] < ended[0]["started_at"]


def test_jobs_wait_in_line_while_a_dataset_is_validated_beside_them(
    client: Client, dataset: str, tmp_path: Path
) -> None:
    running = client.create_job(dataset, BACKBONE, ENDLESS)["id"]
    until(client, running, "running")
    first, second = (client.create_job(dataset, BACKBONE, {"epochs": 1})["id"] for _ in range(2))
    assert [client.job(waiting)["queue_position"] for waiting in (first, second)] == [1, 2]
    archive = write_zip(tmp_path / "b.zip", coloured_classes(2, 5))
    assert client.wait_for_dataset(client.create_dataset(archive)["id"])["status"] == "ready"
    client.cancel(second)
    client.cancel(running)
    assert client.wait(first)["status"] == "succeeded"


def test_an_unavailable_backbone_fails_the_job_with_a_code_and_advice(client: Client, dataset: str) -> None:
    ended = client.wait(client.create_job(dataset, "timm/resnet18.a1_in1k")["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "weights_unavailable")
    assert "HF_HUB_OFFLINE" in ended["error"]["message"]


def test_a_learning_rate_that_is_much_too_large_fails_the_job_with_a_code(client: Client, dataset: str) -> None:
    recipe = {"optimizer": {"kind": "sgd", "lr": 1e30}, "epochs": 3}
    ended = client.wait(client.create_job(dataset, BACKBONE, recipe)["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "training_diverged")


def test_a_backbone_is_inspected_on_request(client: Client) -> None:
    assert client.backbone(BACKBONE)["name"] == BACKBONE
    backbone = client.inspect_backbone(BACKBONE)
    assert backbone["status"] == "inspected"
    assert backbone["licence"] == "cc0-1.0"
    cut = next(cut for cut in backbone["inspection"]["cuts"] if cut["name"] == "global_pool.flatten")
    assert cut["bytes_per_feature"] == 192
    assert "layer4" in backbone["inspection"]["stages"]
    listed = [found["name"] for found in client.backbones(q="mobilenetv3_small_100")]
    assert "timm/mobilenetv3_small_100.lamb_in1k" in listed


def test_backbones_are_listed_by_cost_accuracy_licence_source_and_name(client: Client) -> None:
    def names(**filters: object) -> set[str]:
        return {found["name"] for found in client.backbones(**filters)}

    every = {found["name"]: found for found in client.backbones(q="resnet18")}
    assert {"timm/resnet18.a1_in1k", "torchvision/resnet18"} < set(every)
    known = [found for found in every.values() if found["accuracy"] and found["multiply_adds"]]
    best = max(known, key=lambda found: found["accuracy"])
    assert 0.6 < best["accuracy"] < 1
    assert best["name"] in names(q="resnet18", min_accuracy=best["accuracy"])
    assert names(q="resnet18", min_accuracy=best["accuracy"] + 1e-6).isdisjoint(found["name"] for found in known)
    cost = min(found["multiply_adds"] for found in known)
    assert {found["name"] for found in known if found["multiply_adds"] == cost} <= names(max_multiply_adds=cost)
    assert names(q="resnet18", max_multiply_adds=cost - 1).isdisjoint(found["name"] for found in known)
    parameters = every["torchvision/resnet18"]["parameters"]
    assert "torchvision/resnet18" in names(source="torchvision", max_params=parameters)
    assert "torchvision/resnet18" not in names(source="torchvision", max_params=parameters - 1)
    assert {name.partition("/")[0] for name in names(source="torchvision")} == {"torchvision"}
    assert names(licence="CC0-1.0", source="local") == {BACKBONE}
    with pytest.raises(GraftError) as caught:
        names(min_accuracy=76)
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")


def test_a_backbone_of_torchvision_has_its_cuts(client: Client) -> None:
    backbone = client.inspect_backbone("torchvision/squeezenet1_1")
    assert (backbone["status"], backbone["source"], backbone["input_size"]) == (
        "inspected",
        "torchvision",
        [3, 224, 224],
    )
    assert len(backbone["inspection"]["cuts"]) > 10
    weights = httpx.get(f"{client.url}/v1/backbones/torchvision/squeezenet1_1.IMAGENET1K_V1")
    assert (weights.status_code, weights.json()["input_size"]) == (200, [3, 224, 224])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/backbones/bb_none", 404, "backbone_not_found"),
        ("GET", "/v1/backbones/bb_none/events", 404, "backbone_not_found"),
        ("DELETE", "/v1/backbones/bb_none", 404, "backbone_not_found"),
        ("DELETE", f"/v1/backbones/{BACKBONE}", 409, "backbone_not_uploaded"),
        ("POST", f"/v1/backbones/{BACKBONE}/preprocessing", 409, "backbone_not_uploaded"),
        ("POST", "/v1/backbones", 400, "empty_body"),
        ("GET", "/v1/backbones/torchvision/none", 404, "backbone_not_found"),
        ("GET", "/v1/backbones/ckpt_none", 404, "backbone_not_found"),
    ],
)
def test_requests_about_backbones_that_cannot_be_met_are_problems(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    answer = httpx.request(method, f"{client.url}{path}")
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["instance"]) == (status, code, path)
    assert problem["detail"]


def test_a_checkpoint_that_timm_builds_needs_no_python(client: Client, job: Job) -> None:
    answer = httpx.get(f"{client.url}/v1/checkpoints/{job['checkpoints'][0]}/content", params={"format": "python"})
    assert (answer.status_code, answer.json()["code"]) == (422, "format_not_offered")
    assert "timm or torchvision builds its network" in answer.json()["detail"]
