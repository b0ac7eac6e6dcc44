"""Pushes to MLflow: against its own server, where there is one, and against refusals on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from service.settings import Settings

TOKEN = "secret_of_the_request"
LOAD = """
import mlflow, sys
from mlflow import MlflowClient
uri, target = sys.argv[1:]
mlflow.set_tracking_uri(uri)
mlflow.artifacts.download_artifacts("models:/flowers/2", dst_path=target)
version = MlflowClient().get_model_version("flowers", "2")
run = MlflowClient().get_run(version.run_id)
print(version.tags["graft.checkpoint"], run.info.status, version.status)
"""


@pytest.fixture(scope="module")
def mlflow() -> Path:
    """The command of MLflow, in an environment that has it."""
    found = os.environ.get("GRAFT_MLFLOW") or shutil.which("mlflow")
    if found is None:
        pytest.skip("MLflow is not installed: set GRAFT_MLFLOW to the command `mlflow` of an environment that has it")
    return Path(found)


@pytest.fixture(scope="module")
def server(mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server that serves artifacts; gives its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [mlflow, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/db.sqlite",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            _wait_for(url, process, folder / "log")
            yield url
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 240
    while True:
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def push(client: TestClient, checkpoint: str, uri: str, **more: Any) -> Any:
    body = {"to": "mlflow", "uri": uri, "model": "flowers", "token": TOKEN, **more}
    return client.post(f"/v1/checkpoints/{checkpoint}/push", json=body)


def test_versions_are_made_and_loaded_back_by_mlflow(
    client: TestClient, checkpoint: str, server: str, mlflow: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    first = push(client, checkpoint, server)
    assert first.status_code == 200, first.text
    body = push(client, checkpoint, f"{server}/").json()
    numbers = [int(first.json()["version"]), int(body["version"])]
    assert numbers[1] == numbers[0] + 1
    assert body["url"] == f"{server}/#/models/flowers/versions/{numbers[1]}"
    assert (sorted(body["files"]), body["bytes"]) == (sorted(files), sum(map(len, files.values())))
    script = LOAD.replace("flowers/2", f"flowers/{numbers[1]}").replace('"2"', f'"{numbers[1]}"')
    command = [mlflow.with_name("python"), "-c", script, server, str(tmp_path / "out")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == [checkpoint, "FINISHED", "READY"]
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {name: found[name] for name in files} == files


class _Refusing(BaseHTTPRequestHandler):
    """Answers each call as its table says, and notes what was called."""

    answers: dict[str, tuple[int, dict[str, Any]]]
    called: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        """Answer."""
        self._answer()

    def do_PUT(self) -> None:
        """Answer."""
        self._answer()

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = self.path.split("?")[0].removeprefix("/api/2.0/").removeprefix("mlflow/")
        self.called.append((call, self.headers.get("Authorization")))
        status, body = next((answer for part, answer in self.answers.items() if call.startswith(part)), (404, {}))
        message = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(message)))
        self.end_headers()
        self.wfile.write(message)


RUN = {"run": {"info": {"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts"}}}
ELSEWHERE = {"run": {"info": {"run_id": "r", "artifact_uri": "s3://bucket/r"}}}
WORKING: dict[str, tuple[int, dict[str, Any]]] = {
    "experiments/create": (400, {"error_code": "RESOURCE_ALREADY_EXISTS"}),
    "experiments/get-by-name": (200, {"experiment": {"experiment_id": "1"}}),
    "runs/": (200, RUN),
    "mlflow-artifacts/": (200, {}),
    "registered-models/create": (400, {"error_code": "RESOURCE_ALREADY_EXISTS"}),
    "model-versions/create": (200, {"model_version": {"version": "7"}}),
}


@pytest.fixture
def refusing() -> Iterator[type[_Refusing]]:
    """The server; its `answers` are those of one that works, until they are changed."""
    handler = type("TheHandler", (_Refusing,), {"answers": dict(WORKING), "called": []})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{listener.server_address[1]}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield handler
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("call", "answer", "status", "code", "says"),
    [
        (
            "experiments/create",
            (401, {"error_code": "UNAUTHENTICATED", "message": TOKEN}),
            422,
            "push_refused",
            "Check",
        ),
        ("mlflow-artifacts/", (500, {}), 502, "push_failed", "Nothing was published"),
        ("model-versions/create", (400, {"error_code": "INVALID", "message": "no"}), 422, "push_refused", "no"),
        (
            "runs/create",
            (200, {"run": {"info": {"run_id": "r", "artifact_uri": "s3://b"}}}),
            422,
            "push_refused",
            "serve-artifacts",
        ),
    ],
)
def test_what_fails_leaves_no_version_and_no_run_and_its_error_has_no_token(
    client: TestClient,
    checkpoint: str,
    refusing: Any,
    call: str,
    answer: tuple[int, dict[str, Any]],
    status: int,
    code: str,
    says: str,
) -> None:
    refusing.answers = {call: answer, **{one: given for one, given in WORKING.items() if one != call}}
    response = push(client, checkpoint, refusing.url)
    assert_problem(response, status, code, says)
    assert TOKEN not in response.text
    calls = [called for called, _ in refusing.called]
    assert ("runs/delete" in calls) is ("runs/create" in calls)
    assert call == "model-versions/create" or "model-versions/create" not in calls


@pytest.mark.parametrize("call", ["experiments/get-by-name", "runs/create", "model-versions/create"])
@pytest.mark.parametrize("body", [{}, [], None, "x", {"experiment": [], "run": 1, "model_version": {"version": {}}}])
def test_a_server_that_answers_as_no_mlflow_does_is_named(
    client: TestClient, checkpoint: str, refusing: Any, call: str, body: Any
) -> None:
    refusing.answers = {call: (200, body), **{one: given for one, given in WORKING.items() if one != call}}
    response = push(client, checkpoint, refusing.url)
    assert_problem(response, 502, "push_failed", "seems to be no MLflow server", "Nothing was published")


def test_no_more_of_an_answer_is_read_than_an_answer_has(client: TestClient, checkpoint: str, refusing: Any) -> None:
    refusing.answers = {"": (200, {"x": "x" * (3 << 20)})}
    assert_problem(push(client, checkpoint, refusing.url), 502, "push_failed", "more than 1048576 bytes")


@pytest.mark.parametrize("token", ["ö", "a b", "a\nb", "中"])
def test_a_token_that_no_header_holds_is_refused_without_being_repeated(
    client: TestClient, checkpoint: str, refusing: Any, token: str
) -> None:
    refused = push(client, checkpoint, refusing.url, token=f"secret{token}")
    assert_problem(refused, 422, "invalid_request", "is no token")
    assert "secret" not in refused.text
    assert refusing.called == []
    assert push(client, checkpoint, refusing.url, token=token, username="ö").json()["version"] == "7"


def test_the_token_is_sent_as_the_server_wants_it(client: TestClient, checkpoint: str, refusing: Any) -> None:
    assert push(client, checkpoint, refusing.url).json()["version"] == "7"
    assert {sent for _, sent in refusing.called} == {f"Bearer {TOKEN}"}
    refusing.called.clear()
    push(client, checkpoint, refusing.url, username="ada")
    assert all(sent.startswith("Basic ") for _, sent in refusing.called)
    refusing.called.clear()
    push(client, checkpoint, refusing.url, token=None)
    assert {sent for _, sent in refusing.called} == {None}


def test_the_api_refuses_a_private_address(
    settings: Settings, app: FastAPI, client: TestClient, checkpoint: str
) -> None:
    app.state.settings = settings.model_copy(update={"host": "0.0.0.0"})
    response = push(client, checkpoint, "http://127.0.0.1:5000")
    assert_problem(response, 422, "push_address_refused", "GRAFT_PUSH_HOSTS=127.0.0.1")
    assert TOKEN not in response.text
