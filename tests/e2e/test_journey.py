"""The whole journey, by the command line and by the client: upload, train, watch, predict, export, publish."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from graft import AsyncClient
from tests.support import deployments
from tests.support.images import coloured_classes

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client

pytestmark = pytest.mark.extended

BACKBONE = "local/small"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 60 images in three classes."""
    for name, data in coloured_classes(3, 20).items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photos"


class Shell:
    """A user's shell: runs `graft` in a folder, for a service."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.env = {**os.environ, "GRAFT_URL": url, "XDG_CACHE_HOME": str(folder / "notes"), "COLUMNS": "80"}

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command to its end; gives what it prints."""
        command = [deployments.GRAFT, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return str(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in the background, as whose user may press Ctrl-C."""
        heed = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        program = f"{heed}runpy.run_module('graft', run_name='__main__')"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_by_the_command_line(client: Client, photos: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path, client.url)
    (tmp_path / "recipe.yaml").write_text("optimizer: {kind: adam, lr: 0.01}\nepochs: 4\n")
    train = ("train", "photos", "--backbone", BACKBONE, "--recipe", "recipe.yaml", "--set", "head.dropout=0.1")
    wrong = shell.start(*train, "--set", "optimizr=adam")
    assert "did you mean optimizer?" in wrong.communicate()[1]
    assert wrong.returncode == 1

    first, second = shell.run(*train, "--detach", "--publish", "colours").splitlines()
    dataset, job = first.removeprefix("Dataset "), second.removeprefix("Job ")
    watched = shell.run("watch", job).splitlines()
    checkpoint = watched[-1].removeprefix("Checkpoint ")
    assert checkpoint.startswith("ckpt_")
    assert any("Training" in line for line in watched)
    assert job in shell.run("jobs")
    assert f"checkpoint {checkpoint}" in shell.run("job", job)
    assert "Training" in shell.run("logs", job)
    assert json.loads(shell.run("job", job, "--json"))["recipe"]["head"]["dropout"] == 0.1

    again = json.loads(shell.run("train", dataset, "--backbone", BACKBONE, "--set", "epochs=2", "--json"))
    assert (again["status"], again["dataset"]) == ("succeeded", dataset)
    assert (tmp_path / "best.safetensors").stat().st_size > 100_000
    compared = shell.run("compare", job, again["id"])
    assert all(name in compared for name in (job, again["id"], "epochs"))

    image = next((photos / "red").iterdir())
    (answer,) = json.loads(shell.run("predict", str(image), "--model", "colours", "--json"))
    assert answer["predictions"][0]["checkpoint"] == checkpoint
    report = json.loads(shell.run("export", checkpoint, "--output", "colours.onnx", "--json"))
    assert (tmp_path / "colours.onnx").stat().st_size > 100_000
    assert report["path"] == "colours.onnx"
    shell.run("models", "set", "favourite", again["checkpoints"][0])
    assert "favourite" in shell.run("models", "list")
    assert shell.run("open", job, "--json") == json.dumps({"url": f"{client.url}/jobs/{job}"}) + "\n"
    assert "✓ workers" in shell.run("doctor", "--no-machine")


def test_by_the_client(client: Client, photos: Path, tmp_path: Path) -> None:
    job = client.fine_tune(photos, backbone=BACKBONE, recipe={"epochs": 3}, publish="by-client")
    assert [event.seq for event in job] == list(range(1, len(list(client.list_events(job.id))) + 1))
    ended = job.wait()
    assert ended.status == "succeeded", ended.error
    assert ended.finished_at is not None
    assert ended.finished_at > ended.created_at
    assert ended.progress.percent == 100
    assert ended._repr_html_().count("<svg") == 2
    image = next((photos / "green").iterdir())
    found = ended.predict(str(image))
    assert found.classes[0].probability >= found.classes[1].probability
    assert client.model("by-client").checkpoint == ended.checkpoint
    assert ended.download(tmp_path / "best.safetensors").stat().st_size > 100_000
    client.export(ended.checkpoint, tmp_path / "best.onnx", "onnx")
    assert client.exports(ended.checkpoint)[0].status == "ready"
    client.put_model("by-client-too", ended.checkpoint)
    assert {"by-client", "by-client-too"} <= {model.name for model in client.models()}


def test_by_the_client_for_asyncio(client: Client, photos: Path) -> None:
    async def train(recipe: dict[str, object]) -> str:
        async with AsyncClient(client.url) as asynchronous:
            job = await asynchronous.fine_tune(photos, backbone=BACKBONE, recipe=recipe)
            found = await (await job.wait()).predict(next((photos / "blue").iterdir()))
        return found.classes[0].name

    async def train_two() -> tuple[str, str]:
        return await asyncio.gather(train({"epochs": 2}), train({"epochs": 3}))

    assert set(asyncio.run(train_two())) <= {"red", "green", "blue"}


def test_by_the_command_line_with_a_service_that_is_killed(
    tmp_path: Path, sqlite_url: str, backbones: Path, photos: Path
) -> None:
    """The service is killed (-9) in the training, and started again; the command goes on as if nothing had been."""
    env = deployments.environment(tmp_path / "data", backbones, GRAFT_DATABASE_URL=sqlite_url)
    shell = Shell(tmp_path, f"http://127.0.0.1:{env['GRAFT_PORT']}")
    recipe = ("--set", "epochs=400", "--set", "early_stopping=null", "--set", "cache.views=0")
    with ExitStack() as running:
        service = running.enter_context(deployments.process(env, "up"))
        deployments.ready(env)
        training = shell.start("train", "photos", "--backbone", BACKBONE, *recipe)
        assert training.stdout is not None
        while "Training" not in training.stdout.readline():
            assert training.poll() is None
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
        time.sleep(1)
        running.enter_context(deployments.process(env, "up"))
        printed, errors = training.communicate(timeout=240)
        assert training.returncode == 0, printed + errors
        assert "best.safetensors: " in printed
        (job,) = json.loads(shell.run("jobs", "--json"))
        assert job["status"] == "succeeded"


def test_ctrl_c_in_an_upload_is_continued_by_the_same_command(client: Client, tmp_path: Path, photos: Path) -> None:
    with (photos / "red" / "noise.bin").open("wb") as file:
        for _ in range(160):
            file.write(os.urandom(1 << 20))
    shell = Shell(tmp_path, client.url)
    notes = tmp_path / "notes" / "graft" / "uploads"
    train = ("train", "photos", "--backbone", BACKBONE, "--set", "epochs=1", "--detach")
    first = shell.start(*train)
    until, upload = time.monotonic() + 120, ""
    while not upload or client.get_upload(upload).offset == 0:
        assert time.monotonic() < until
        assert first.poll() is None
        upload = next((note.read_text().rpartition("/")[2] for note in notes.glob("*")), "") if notes.exists() else ""
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate()
    assert first.returncode == 130
    assert "The same command continues it" in errors
    assert client.get_upload(upload).used_by is None
    dataset = shell.run(*train).splitlines()[0].removeprefix("Dataset ")
    assert client.get_upload(upload).used_by == dataset
    assert list(notes.iterdir()) == []
