"""The command line against a running service."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from graft.cli import app
from graft.predict_commands import describe_answer
from tests.support import deployments
from tests.support.images import coloured_classes
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_trains_from_a_folder_and_lists_the_results(tmp_path: Path) -> None:
    write_backbone(tmp_path / "backbones" / "small")
    for name, data in coloured_classes(2, 12).items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"epochs": 3}')
    output = tmp_path / "out.safetensors"
    with deployments.embedded(tmp_path / "data", tmp_path / "backbones") as url:

        def run(*arguments: str) -> str:
            done = CliRunner().invoke(app, [*arguments, "--url", url])
            assert done.exit_code == 0, done.output
            return done.output

        def refuse(*arguments: str) -> str:
            done = CliRunner().invoke(app, [*arguments, "--url", url])
            assert done.exit_code == 1, done.output
            assert len(done.output.splitlines()) == 1, done.output
            return done.output

        wrong = tmp_path / "wrong.json"
        wrong.write_text('{"n_epochs": 3}')
        photos = str(tmp_path / "photos")
        assert "did you mean epochs?" in refuse("train", photos, "--backbone", "local/small", "--recipe", str(wrong))
        assert "There is no backbone local/smal" in refuse("train", photos, "--backbone", "local/smal")
        assert json.loads(run("datasets", "--json")) == []

        printed = run(
            "train",
            str(tmp_path / "photos"),
            "--backbone",
            "local/small",
            "--recipe",
            str(recipe),
            "--output",
            str(output),
        )
        result = printed.splitlines()[-1]
        assert "Training" in printed
        assert all(f"{name} " in result for name in ("test accuracy", "balanced accuracy", "calibration error")), result
        assert output.stat().st_size > 1_000_000
        jobs = json.loads(run("jobs", "--json"))
        assert f"Job {jobs[0]['id']}\n" in printed
        assert f"Dataset {jobs[0]['dataset']}\n" in printed
        assert jobs[0]["checkpoints"][0] in run("watch", jobs[0]["id"])
        assert jobs[0]["id"] in run("jobs")
        assert "exists" in refuse("download", jobs[0]["checkpoints"][0], "--output", str(output))
        run("download", jobs[0]["checkpoints"][0], "--output", str(output), "--overwrite")
        assert [job["status"] for job in jobs] == ["succeeded"]
        assert "local/small" in run("backbones", "small", "--source", "local")
        accurate = run("backbones", "patch14_448", "--min-accuracy", "0.9", "--max-params", "400000000")
        assert "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k" in "".join(accurate.split())
        assert "photos" in run("datasets")
        assert json.loads(run("inspect", "local/small", "--json"))["inspection"]["cuts"]
        checkpoint = jobs[0]["checkpoints"][0]
        answers = json.loads(run("predict", photos, "--model", checkpoint, "--json"))
        assert len(answers) == 24
        for answer in answers:
            (prediction,) = answer["predictions"]
            assert prediction["classes"][0]["name"] in answer["image"], "the images are those of the training"
        maps = tmp_path / "maps"
        for _ in range(2):
            run("predict", answers[0]["image"], "--model", checkpoint, "--saliency", str(maps))
        name = Path(answers[0]["image"]).name
        assert {path.name for path in maps.iterdir()} == {f"{name}.{checkpoint}.png", f"{name}.2.{checkpoint}.png"}
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in maps.iterdir())
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(b"none")
        done = CliRunner().invoke(
            app, ["predict", answers[0]["image"], str(broken), "--model", checkpoint, "--url", url]
        )
        assert done.exit_code == 1, "one of the images has no predictions"
        assert "The file is no image" in done.output
        assert "%" in done.output
        assert "There is no checkpoint ckpt_x" in refuse("predict", photos, "--model", "ckpt_x")
        table = tmp_path / "table.csv"
        printed = run("predict", photos, "--model", checkpoint, "--output", str(table))
        assert f"{table}: 24 images" in printed
        with table.open(newline="") as text:
            rows = list(csv.DictReader(text))
        assert all(row[f"{checkpoint}.class"] in row["file"] for row in rows)
        assert {row["labels"] for row in rows} == {""}
        lines = tmp_path / "lines.jsonl"
        run("predict", jobs[0]["dataset"], "--model", checkpoint, "-o", str(lines), "--top-k", "2")
        found = [json.loads(line) for line in lines.read_text().splitlines()]
        assert all(row["labels"][0] in row["file"] for row in found)
        assert {len(row["predictions"][0]["classes"]) for row in found} == {2}
        assert "exists" in refuse("predict", photos, "--model", checkpoint, "-o", str(lines))
        assert "--output FILE.csv" in refuse("predict", jobs[0]["dataset"], "--model", checkpoint)
        assert "one dataset" in refuse("predict", photos, photos, "--model", checkpoint, "-o", str(tmp_path / "a.csv"))
        assert ".csv, .jsonl or .parquet" in refuse("predict", photos, "--model", checkpoint, "-o", "a.xlsx")
        (cache,) = json.loads(run("cache", "--json"))
        assert cache["misses"] > 0
        (cache,) = json.loads(run("cache", "--empty", "--json"))
        assert cache["emptying"]
        until = time.monotonic() + 30
        while cache["bytes"] or cache["emptying"]:
            assert time.monotonic() < until
            time.sleep(0.2)
            (cache,) = json.loads(run("cache", "--json"))
        assert not list((tmp_path / "data").glob("cache/*/*.rows"))
        assert json.loads(run("job", jobs[0]["id"], "--json"))["id"] == jobs[0]["id"]
        again = tmp_path / "again"
        run("download", jobs[0]["checkpoints"][0], "--output", str(again))
        assert again.read_bytes() == output.read_bytes()
        refused = CliRunner().invoke(app, ["cancel", jobs[0]["id"], "--url", url])
        assert refused.exit_code == 1
        assert "is succeeded" in refused.output


def test_predictions_are_shown_with_their_set_and_whether_the_image_is_unlike_the_training() -> None:
    named = [{"name": "red", "probability": 0.75}]
    known = {"model": "m", "classes": named, "set": ["red", "blue"], "unlike_training": True}
    unknown = {"model": "old", "classes": named, "set": None, "unlike_training": None}
    rows = describe_answer({"image": "a.png", "error": None, "predictions": [known, unknown]})
    assert [(row["probability"], row["set"], row["note"]) for row in rows] == [
        ("75.0%", "red, blue", "unlike what it was trained on"),
        ("75.0%", "", ""),
    ]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with an image that is none."""
    folder = tmp_path / "my photos"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(b"1")
    return folder


def refuse(*arguments: object, status: int = 1) -> str:
    """Run a command that must fail in one line; nobody listens where it would send anything."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--url", "http://127.0.0.1:9"])
    assert done.exit_code == status, done.output
    (line,) = done.output.splitlines()
    return line


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (b"{'epochs': 3}", "line 1, column 2"),
        (b'{"epochs": 3,}', "line 1, column 14"),
        (b"[]", "must be a JSON object"),
        (b"\xe4", "cannot be sent"),
        (b'{"epochs": 3, "epochs": 4}', "a field stands twice"),
        (b'{"a": NaN}', "cannot be sent"),
        (b'{"a": 1e999}', "cannot be sent"),
        (b'{"a": "\\ud800"}', "cannot be sent"),
        (b"[" * 100_000, "cannot be sent"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_malformed_recipe_is_refused_before_anything_is_sent(
    tmp_path: Path, photos: Path, recipe: bytes | None, says: str
) -> None:
    file = tmp_path / "recipe.json"
    if recipe is not None:
        file.write_bytes(recipe)
    line = refuse("train", photos, "--backbone", "local/small", "--recipe", file)
    assert says in line
    assert str(file) in line


def test_a_recipe_of_any_encoding_of_json_is_read(tmp_path: Path, photos: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "recipe.json").write_text('{"epochs": 3}', encoding=encoding)
        train = ("train", photos, "--backbone", "local/small", "--recipe", tmp_path / "recipe.json")
        assert "No Graft answers" in refuse(*train, status=3)


def test_images_that_are_not_there_are_refused_before_anything_is_sent(tmp_path: Path, photos: Path) -> None:
    assert "There is no" in refuse("train", tmp_path / "none", "--backbone", "b")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden").touch()
    assert "holds no files" in refuse("train", tmp_path / "empty", "--backbone", "b")


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path, photos: Path) -> None:
    train = ("train", photos, "--backbone", "b", "--output")
    assert "There is no folder" in refuse(*train, tmp_path / "none" / "best.safetensors")
    assert "is a folder" in refuse(*train, tmp_path)
    (tmp_path / "best.safetensors").touch()
    assert "--overwrite" in refuse(*train, tmp_path / "best.safetensors")
    assert "No Graft answers" in refuse(*train, tmp_path / "best.safetensors", "--overwrite", status=3)


@pytest.mark.parametrize("url", ["localhost:8000", "nonsense", "http://[::1", "ftp://127.0.0.1"])
def test_an_address_that_is_no_url_is_named(url: str) -> None:
    done = CliRunner().invoke(app, ["jobs", "--url", url])
    assert done.exit_code == 1
    assert "--url or GRAFT_URL" in done.output
    assert len(done.output.splitlines()) == 1


PROGRESS = ("percent", "epoch", "epochs", "images_per_second", "eta_seconds")
ENDED = threading.Event()


class Stranger(BaseHTTPRequestHandler):
    """A server that is no Graft."""

    def do_GET(self) -> None:
        """Send a page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Endless(Stranger):
    """A service whose job never ends."""

    answers = {
        "/v1/recipes/check": {"recipe": {}},
        "/v1/datasets": {"id": "ds_x"},
        "/v1/datasets/ds_x": {"id": "ds_x", "status": "ready"},
        "/v1/jobs": {"id": "job_x"},
        "/v1/jobs/job_x": {"id": "job_x", "phase": "training", "progress": dict.fromkeys(PROGRESS, 0)},
    }

    def do_GET(self) -> None:
        """Answer, and leave the events open."""
        while self.headers["Transfer-Encoding"] and int(self.rfile.readline() or b"0", 16):
            self.rfile.readline()
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self.path.partition("?")[0]
        self.send_response(200)
        self.end_headers()
        if path in self.answers:
            self.wfile.write(json.dumps(self.answers[path]).encode())
            return
        event = {
            "id": "job_x.1",
            "kind": "phase",
            "time": "2026-11-28T12:00:00.000Z",
            "message": "Training",
            "data": {},
        }
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        ENDED.wait()

    do_POST = do_GET


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an HTTP server; gives its address."""
    ENDED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        ENDED.set()
        server.shutdown()
        thread.join()


def test_another_program_at_the_address_is_named() -> None:
    with listening(Stranger) as url:
        for command in (["jobs"], ["job", "job_x"], ["datasets"]):
            done = CliRunner().invoke(app, [*command, "--url", url])
            assert done.exit_code == 1
            assert "another program may listen there" in done.output
            assert len(done.output.splitlines()) == 1


def test_an_interrupted_command_says_that_the_job_goes_on(photos: Path) -> None:
    with listening(Endless) as url:
        # Of whoever runs the tests in the background, programs inherit that they ignore SIGINT.
        heed = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        graft = f"{heed}runpy.run_module('graft', run_name='__main__')"
        command = [sys.executable, "-c", graft, "train", str(photos), "--backbone", "b", "--url", url]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=photos)
        assert running.stdout is not None
        while "Training" not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert running.returncode == 130
    assert "The job goes on. Watch it with `graft watch job_x`" in errors
    assert "Traceback" not in errors


def test_a_missing_service_is_reported_in_one_line() -> None:
    done = CliRunner().invoke(app, ["jobs", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 3
    assert "graft up" in done.output
    assert "Traceback" not in done.output
