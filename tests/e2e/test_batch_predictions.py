"""Batch predictions of running services: every image has its row once, also when the worker is killed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from graft.client import Client
from graft.errors import GraftError
from tests.support import deployments
from tests.support.images import coloured, encoded, noise, write_zip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

IMAGES = 400


def train(client: Client, dataset: str) -> str:
    """Train a model; gives its checkpoint."""
    return str(client.wait(client.create_job(dataset, "local/small", {"epochs": 3})["id"])["checkpoints"][0])


def read_rows(client: Client, prediction: str, folder: Path) -> list[dict[str, Any]]:
    path = client.download_predictions(prediction, folder / f"{prediction}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def top(row: dict[str, Any]) -> tuple[str, float]:
    (prediction,) = row["predictions"]
    return prediction["classes"][0]["name"], prediction["classes"][0]["probability"]


def test_images_with_and_without_labels(client: Client, dataset: str, tmp_path: Path) -> None:
    checkpoint = train(client, dataset)
    client.put_model("colours", checkpoint)
    labelled = client.wait_for_prediction(client.create_prediction(dataset, ["colours", checkpoint], top_k=2)["id"])
    assert (labelled["status"], labelled["error"], labelled["progress"]["errors"]) == ("succeeded", None, 0)
    rows = read_rows(client, labelled["id"], tmp_path)
    images = {image["digest"]: image for image in client.images(dataset)}
    assert {row["digest"] for row in rows} == images.keys()
    assert all(row["labels"] == images[row["digest"]]["labels"] for row in rows)
    right = [row["predictions"][0]["classes"][0]["name"] == row["labels"][0] for row in rows]
    assert sum(right) > 0.9 * len(rows)
    assert all(row["predictions"][0]["classes"] == row["predictions"][1]["classes"] for row in rows)

    files = {"flat.png": coloured(0, 500), "deep/down/=1.png": coloured(1, 501), "no image.txt": b"text"}
    made = client.create_dataset(write_zip(tmp_path / "plain.zip", files), labels="none")
    plain = client.wait_for_dataset(made["id"])
    assert (plain["status"], plain["task"], plain["classes"]) == ("ready", "unlabelled", [])
    with pytest.raises(GraftError, match="nothing to train on"):
        client.create_job(plain["id"], "local/small")
    ended = client.wait_for_prediction(client.create_prediction(plain["id"], ["colours"], top_k=1)["id"])
    found = {row["file"]: row for row in read_rows(client, ended["id"], tmp_path)}
    assert {name: (row["labels"], row["split"]) for name, row in found.items()} == {
        "flat.png": ([], None),
        "deep/down/=1.png": ([], None),
    }
    assert (top(found["flat.png"])[0], top(found["deep/down/=1.png"])[0]) == ("red", "green")
    table = client.download_predictions(ended["id"], tmp_path / "plain.csv")
    with table.open(newline="") as text:
        assert [row["colours.class"] for row in csv.DictReader(text)] == [top(row)[0] for row in found.values()]
    columns = parquet.read_table(client.download_predictions(ended["id"], tmp_path / "plain.parquet"))
    assert columns["file"].to_pylist() == list(found)
    listed = list(client.predictions(model="colours"))
    assert [each["id"] for each in listed] == [ended["id"], labelled["id"]]
    client.delete_prediction(ended["id"])
    with pytest.raises(GraftError, match="There is no prediction"):
        client.prediction(ended["id"])


def wait_for_images(client: Client, prediction: str, images: int) -> None:
    """Wait until some images are done."""
    end = time.monotonic() + 200
    while client.prediction(prediction)["progress"]["images"] < images:
        assert time.monotonic() < end, client.prediction(prediction)
        time.sleep(0.02)


def test_one_whose_worker_is_killed_goes_on_behind_its_stored_rows(
    tmp_path: Path, backbones: Path, archive: Path
) -> None:
    files = {f"{seed:04}.png": encoded(noise(seed, 400, 300)) for seed in range(IMAGES)}
    large = write_zip(tmp_path / "large.zip", files)
    (tmp_path / "data").mkdir()
    env = deployments.environment(tmp_path / "data", backbones, GRAFT_SNAPSHOT_SECONDS="0.01")
    subprocess.run([deployments.GRAFT, "migrate"], env=env, cwd=deployments.ROOT, check=True)
    with (
        deployments.process(env, "api"),
        deployments.process(env, "worker") as first,
        Client(deployments.ready(env)) as client,
    ):
        dataset = client.wait_for_dataset(client.create_dataset(large, labels="none")["id"])["id"]
        checkpoint = train(client, str(client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]))
        prediction = client.create_prediction(dataset, [checkpoint])["id"]
        wait_for_images(client, prediction, 1)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert client.prediction(prediction)["status"] == "running"
        with deployments.process(env, "worker"):
            ended = client.wait_for_prediction(prediction)
            undisturbed = client.wait_for_prediction(client.create_prediction(dataset, [checkpoint])["id"])
            cancelled = client.create_prediction(dataset, [checkpoint])["id"]
            client.cancel_prediction(cancelled)
            assert client.wait_for_prediction(cancelled)["status"] in ("cancelled", "succeeded")
        assert ended["status"] == "succeeded"
        assert ended["attempt"] >= 2, "more where a busy machine lets a lease of the second end"
        events = {event["kind"]: event for event in client.prediction_events(prediction)}
        assert events["crashed"]["data"]["cause"] == "worker_died"
        assert 0 < events["started"]["data"]["images"] <= IMAGES, "of the last attempt"
        rows, expected = (read_rows(client, each, tmp_path) for each in (prediction, undisturbed["id"]))
        assert [row["digest"] for row in rows] == [row["digest"] for row in expected]
        assert len({row["digest"] for row in rows}) == IMAGES
        for row, other in zip(rows, expected, strict=True):
            assert top(row)[0] == top(other)[0]
            assert top(row)[1] == pytest.approx(top(other)[1], abs=1e-4)
        assert undisturbed["progress"]["cached"] == IMAGES
        stored = {path.name for path in (tmp_path / "data" / "storage" / "predictions" / prediction).iterdir()}
        # One that the killed worker was just about to record is in no row: the sweep removes it, when it is old enough.
        stored -= {name for name in stored if name.startswith("1.")}
        assert {name.rpartition(".")[2] for name in stored} == {"csv", "jsonl", "parquet"}, "no parts are left"
        assert len(stored) == 3
