"""Uploaded backbones on a running service of each form: imported, trained on, answered for, deleted."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from safetensors import safe_open

from graft.errors import GraftError
from tests.support import imported_networks
from tests.support.images import coloured_classes, write_zip
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client
    from graft.results.backbones import InspectedBackbone

pytestmark = pytest.mark.extended

FACTS = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "channel_order": "rgb"}


@pytest.fixture(scope="session")
def uploaded(client: Client, backbones: Path) -> InspectedBackbone:
    """Upload the folder of a backbone, and wait until it is imported."""
    made = client.create_backbone(backbones / "small", "small")
    assert (made["name"], made["status"], made["source"]) == ("small", "importing", "upload")
    return client.wait_for_backbone(made["id"])


def test_a_folder_becomes_a_backbone(client: Client, uploaded: InspectedBackbone) -> None:
    assert (uploaded["status"], uploaded["error"]) == ("ready", None)
    assert (uploaded["architecture"], uploaded["input_size"]) == ("test_resnet", [3, 32, 32])
    assert uploaded["licence"] == "cc0-1.0"
    assert uploaded["inspection"]["cuts"]
    assert uploaded["import_report"]["structure"]["exact_cuts"]
    assert uploaded["id"] in {row["id"] for row in client.backbones()}
    events = list(client.import_events(uploaded["id"]))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["kind"], events[-1]["kind"]) == ("uploaded", "ready")


def test_a_job_on_it_gives_the_same_checkpoint_as_on_the_local_one(
    client: Client, dataset: str, uploaded: InspectedBackbone
) -> None:
    made = [client.create_job(dataset, name, {"epochs": 2, "seed": 1}) for name in (uploaded["id"], "local/small")]
    own, local = (client.wait(job["id"]) for job in made)
    assert (own["status"], local["status"]) == ("succeeded", "succeeded"), own["error"] or local["error"]
    assert own["metrics"]["test"] == local["metrics"]["test"]
    with pytest.raises(GraftError) as caught:
        client.delete_backbone(uploaded["id"])
    assert (caught.value.status, caught.value.code) == (409, "backbone_in_use")


def test_what_its_file_does_not_say_is_asked_for(client: Client, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "net")  # whose configuration is not sent
    config = json.loads((folder / "config.json").read_text())
    labels = [f"class {number}" for number in range(config["num_classes"])]
    path = folder / "model.safetensors"
    made = client.create_backbone(path, options={"architecture": config["architecture"]})
    asked = client.wait_for_backbone(made["id"])
    assert (asked["status"], asked["error"]["code"]) == ("failed", "preprocessing_needed")
    assert f"/v1/backbones/{made['id']}/preprocessing" in asked["hint"]
    assert {"mean", "std"} <= set(asked["import_report"]["preprocessing"]["missing"])
    facts = {**FACTS, "input_size": [3, 32, 32], "interpolation": "bilinear", "crop_pct": 1.0}
    client.answer_import(made["id"], {"preprocessing": facts, "labels": labels})
    ready = client.wait_for_backbone(made["id"])
    assert (ready["status"], ready["error"]) == ("ready", None)
    used = ready["import_report"]["preprocessing"]["used"]
    assert {name: used[name] for name in facts} == facts
    assert ready["import_report"]["labels"] == len(labels)
    client.delete_backbone(made["id"])
    with pytest.raises(GraftError, match="There is no backbone"):
        client.backbone(made["id"])


def test_a_file_that_is_no_network_is_refused_with_advice(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/archive_format", "pt2")
    failed = client.wait_for_backbone(client.create_backbone(path)["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "pt2")
    assert "state_dict" in failed["error"]["message"]
    with pytest.raises(GraftError) as caught:
        client.answer_import(failed["id"], {"labels": ["a"]})
    assert caught.value.code == "preprocessing_not_needed"


def test_it_is_described(client: Client) -> None:
    paths = httpx.get(f"{client.url}/openapi.json").json()["paths"]
    upload = paths["/v1/backbones"]["post"]["requestBody"]["content"]
    assert set(upload) == {"application/octet-stream", "application/zip", "multipart/form-data", "application/json"}
    assert {"file", "samples", "labels"} <= set(upload["multipart/form-data"]["schema"]["properties"])
    answer = paths["/v1/backbones/{backbone_id}/preprocessing"]["post"]["requestBody"]["content"]
    assert set(answer) == {"application/json", "multipart/form-data"}


def test_the_body_is_the_file_and_a_key_makes_it_once(client: Client, backbones: Path) -> None:
    weights = (backbones / "small" / "model.safetensors").read_bytes()
    facts = {**FACTS, "input_size": [3, 32, 32], "interpolation": "bilinear", "crop_pct": 1.0}
    labels = json.dumps([f"class {number}" for number in range(10)])
    query = {"name": "raw", "architecture": "test_resnet", "preprocessing": json.dumps(facts), "labels": labels}

    def send(**changes: str) -> httpx.Response:
        address, headers = f"{client.url}/v1/backbones", {"Idempotency-Key": "raw backbone"}
        return httpx.post(address, params={**query, **changes}, content=weights, headers=headers)

    made = send()
    backbone = made.json()
    assert made.status_code == 202
    assert made.headers["location"] == f"/v1/backbones/{backbone['id']}"
    assert (backbone["id"][:3], backbone["name"], backbone["status"]) == ("bb_", "raw", "importing")
    assert send().json()["id"] == backbone["id"]
    assert send(name="other").json()["code"] == "idempotency_key_reused"
    ready = client.wait_for_backbone(backbone["id"])
    assert (ready["status"], ready["error"], ready["format"]) == ("ready", None, "safetensors")
    assert (ready["bytes"], ready["digest"]) == (len(weights), f"sha256:{hashlib.sha256(weights).hexdigest()}")
    report = ready["import_report"]
    with safe_open(backbones / "small" / "model.safetensors", "np") as opened:
        tensors = len(opened.keys())
    assert (report["matched"], report["left"], report["verdict"]) == (tensors, [], "unverified")
    assert httpx.delete(f"{client.url}/v1/backbones/{backbone['id']}").status_code == 204
    assert httpx.get(f"{client.url}/v1/backbones/{backbone['id']}").status_code == 404


@pytest.fixture(scope="session")
def graph(client: Client, tmp_path_factory: pytest.TempPathFactory) -> InspectedBackbone:
    """Upload an ONNX file in a form with samples, whose preprocessing they tell, and wait until it is imported."""
    folder = tmp_path_factory.mktemp("onnx")
    file = folder / "net.onnx"
    file.write_bytes(imported_networks.OnnxOriginal(imported_networks.make_network()).data)
    samples = write_zip(folder / "samples.zip", coloured_classes(3, 8))
    options = {"preprocessing": FACTS, "labels": ["red", "green", "blue", *(f"class {number}" for number in range(7))]}
    made = client.create_backbone(file, options=options, samples=samples)
    assert (made["name"], made["options"]["labels"]) == ("net.onnx", options["labels"])
    return client.wait_for_backbone(made["id"])


def test_a_network_of_another_framework_is_compared_with_its_original(graph: dict[str, Any]) -> None:
    assert (graph["status"], graph["error"], graph["format"]) == ("ready", None, "onnx")
    report = graph["import_report"]
    assert (report["verdict"], report["classes"], report["labels"]) == ("verified", 10, 10)
    assert report["numeric"]["original"].startswith("onnxruntime")
    compared = report["numeric"]["comparisons"]
    assert {(one["images"], one["batch"]) for one in compared} == {
        (images, batch) for images in ("random", "rendered") for batch in (1, 3)
    }
    for one in compared:
        assert one["greatest_difference"] <= one["bound"] < one["spread"] / 100
        assert one["top1_agreement"] == 1
    assert len(report["structure"]["exact_cuts"]) == 2
    assert report["structure"]["parameters_with_gradient"] > 0
    assert (report["samples"]["images"], report["samples"]["classes"]) == (24, 3)
    assert report["samples"]["trials"]


def test_events_of_an_import_are_streamed_and_go_on_from_any(client: Client, graph: dict[str, Any]) -> None:
    address = f"{client.url}/v1/backbones/{graph['id']}/events"
    page = httpx.get(address, params={"limit": 1000}).json()
    ids = [event["id"] for event in page["data"]]
    assert [event["seq"] for event in page["data"]] == list(range(1, len(ids) + 1))
    assert page["has_more"] is False

    def stream(**headers: str) -> list[str]:
        answer = httpx.get(address, headers={"Accept": "text/event-stream", **headers})
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line.partition(":")[2].strip() for line in answer.text.splitlines() if line.startswith("id:")]

    assert stream() == ids
    assert stream(**{"Last-Event-ID": ids[-2]}) == ids[-1:]


def test_its_checkpoint_comes_with_source_that_needs_torch_alone(
    client: Client, dataset: str, graph: dict[str, Any], tmp_path: Path
) -> None:
    job = client.wait(client.create_job(dataset, graph["id"], {"epochs": 1})["id"])
    assert job["status"] == "succeeded", job["error"]
    (checkpoint,) = job["checkpoints"]
    python = next(one for one in client.checkpoint(checkpoint)["artifacts"] if one["format"] == "python")
    source = httpx.get(f"{client.url}{python['url']}")
    assert source.headers["content-type"].startswith("text/x-python")
    assert (len(source.content), f"sha256:{hashlib.sha256(source.content).hexdigest()}") == (
        python["bytes"],
        python["digest"],
    )
    imports = {line for line in source.text.splitlines() if line.startswith(("import ", "from "))}
    assert {line.split()[1].partition(".")[0] for line in imports} <= {"torch", "__future__", "math", "operator"}
    again = client.create_backbone(client.download(checkpoint, tmp_path / "checkpoint.safetensors"))
    back = client.wait_for_backbone(again["id"])
    assert (back["status"], back["error"], back["format"]) == ("ready", None, "graft")


def test_a_checkpoint_is_the_backbone_of_the_next_job(client: Client, dataset: str) -> None:
    first = client.wait(client.create_job(dataset, "local/small", {"epochs": 2})["id"])
    (parent,) = first["checkpoints"]
    inspected = client.inspect_backbone(parent)
    assert (inspected["status"], inspected["source"], inspected["error"]) == ("inspected", "checkpoint", None)
    assert (inspected["architecture"], inspected["input_size"]) == ("test_resnet", [3, 32, 32])
    assert "layer4" in inspected["inspection"]["stages"]
    assert parent in {row["id"] for row in client.backbones(source="checkpoint")}
    second = client.wait(client.create_job(dataset, parent, {"epochs": 1, "head": {"kind": "keep"}})["id"])
    assert second["status"] == "succeeded", second["error"]
    (child,) = second["checkpoints"]
    assert client.checkpoint(child)["parent"] == parent
    assert client.checkpoint(parent)["parent"] is None
