"""Push a folder to the model registry of an MLflow server, by its REST API.

A run gets the files as artifacts, and then a version of the registered model names them: until then, nothing is
published. Where a step fails, the run is deleted, so that nothing is left of it.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from service.pushes import addresses
from service.pushes.errors import PushFailed, PushRefused
from service.pushes.schemas import Pushed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.pushes.folder import ExportedFolder
    from service.pushes.schemas import MlflowPush
    from service.settings import Settings

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
BLOCK = 1 << 20
MOST_BYTES = 1 << 20
"""Largest answer that is read."""
FOLDER = "model"
"""The folder of the files among a run's artifacts."""


def push(request: MlflowPush, folder: ExportedFolder, facts: Mapping[str, str], settings: Settings) -> Pushed:
    """Make a version of a registered model; `facts` become tags of it. Raises the errors of pushes."""
    server = _Server(request, settings)
    with server.http:
        run = server.create_run(facts)
        try:
            for name, size in folder.sizes.items():
                server.put(run, name, size, folder)
            server.call("runs/update", {"run_id": run.id, "status": "FINISHED", "end_time": _milliseconds()})
            version = server.create_version(run, facts)
        except BaseException:
            with suppress(PushFailed, PushRefused):
                server.call("runs/delete", {"run_id": run.id})
            raise
    url = f"{request.uri.rstrip('/')}/#/models/{quote(request.model, safe='')}/versions/{version}"
    return Pushed(to="mlflow", url=url, version=version, files=list(folder.sizes), bytes=folder.total_bytes)


class _Run(NamedTuple):
    """A run of MLflow."""

    id: str
    artifact_uri: str


class _Server:
    """Calls of one MLflow server."""

    def __init__(self, request: MlflowPush, settings: Settings) -> None:
        address = addresses.check(request.uri, settings)
        self.request, self._host = request, address.host
        self._token = "" if request.token is None else request.token.get_secret_value()
        headers = {"Host": address.netloc}
        if self._token and request.username is None:
            headers["Authorization"] = f"Bearer {self._token}"
        auth = None if request.username is None else (request.username, self._token)
        # Neither proxies nor redirects: the connection goes to the address that was checked.
        self.http = httpx.Client(
            base_url=address.url, headers=headers, auth=auth, timeout=TIMEOUT, trust_env=False, follow_redirects=False
        )

    def create_run(self, facts: Mapping[str, str]) -> _Run:
        """Make a run in the experiment, which is made if it is new."""
        name = self.request.experiment
        self.call("experiments/create", {"name": name}, unless="RESOURCE_ALREADY_EXISTS")
        found = self.call("experiments/get-by-name", {"experiment_name": name}, method="GET")
        tags = [{"key": key, "value": value} for key, value in {"mlflow.runName": facts["graft.job"], **facts}.items()]
        experiment = self._find(found, "experiment", "experiment_id")
        made = self.call("runs/create", {"experiment_id": experiment, "start_time": _milliseconds(), "tags": tags})
        run = _Run(*(self._find(made, "run", "info", key) for key in ("run_id", "artifact_uri")))
        if not run.artifact_uri.startswith("mlflow-artifacts:"):
            with suppress(PushFailed, PushRefused):
                self.call("runs/delete", {"run_id": run.id})
            raise PushRefused(
                f"The MLflow server keeps artifacts at {run.artifact_uri:.200}, where its clients are to write "
                "them. Start it with --serve-artifacts and a default artifact root of mlflow-artifacts:/"
            )
        return run

    def put(self, run: _Run, name: str, size: int, folder: ExportedFolder) -> None:
        """Stream a file to a run's artifacts."""
        root = urlsplit(run.artifact_uri).path.strip("/")
        address = f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{FOLDER}/{name}')}"
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._send("PUT", address, content=_read_blocks(folder, name), headers=headers)

    def create_version(self, run: _Run, facts: Mapping[str, str]) -> str:
        """Make a version of the registered model, which is made if it is new; returns its number."""
        name = self.request.model
        self.call("registered-models/create", {"name": name}, unless="RESOURCE_ALREADY_EXISTS")
        order = {
            "name": name,
            "source": f"{run.artifact_uri}/{FOLDER}",
            "run_id": run.id,
            "tags": [{"key": key, "value": value} for key, value in facts.items()],
        }
        return self._find(self.call("model-versions/create", order), "model_version", "version")

    def call(self, path: str, body: dict[str, Any], *, method: str = "POST", unless: str | None = None) -> Any:
        """Call the REST API; an error with the code `unless` is fine."""
        sent = {"params": body} if method == "GET" else {"json": body}
        content = self._send(method, f"/api/2.0/mlflow/{path}", unless=unless, **sent)
        try:
            return json.loads(content)
        except ValueError:
            raise self._explain_stranger("without JSON") from None

    def _find(self, answer: Any, *keys: str) -> str:
        """Find a text in an answer."""
        for key in keys:
            answer = answer.get(key) if isinstance(answer, dict) else None
        if not isinstance(answer, str | int):
            raise self._explain_stranger(f"without {'.'.join(keys)}")
        return str(answer)

    def _explain_stranger(self, how: str) -> PushFailed:
        return PushFailed(
            f"{self._host} answers {how}; it seems to be no MLflow server. Nothing was published; check the address."
        )

    def _send(self, method: str, address: str, *, unless: str | None = None, **sent: Any) -> bytes:
        """Send a request; returns the body of the answer. An error with the code `unless` is fine."""
        extensions = {"sni_hostname": self._host}
        try:
            with self.http.stream(method, address, extensions=extensions, **sent) as response:
                content = bytearray()
                for block in response.iter_bytes():
                    content += block
                    if len(content) > MOST_BYTES:
                        raise self._explain_stranger(f"with more than {MOST_BYTES} bytes")
        except httpx.HTTPError as error:
            raise PushFailed(
                f"The MLflow server at {self._host} does not answer ({type(error).__name__}). Nothing was published; "
                "send the request again."
            ) from None
        if response.is_success:
            return bytes(content)
        code, message = _read_error(bytes(content))
        if unless is not None and code == unless:
            return bytes(content)
        detail = f"The MLflow server at {self._host} answers {response.status_code}: {message}"
        detail = detail.replace(self._token, "…") if self._token else detail
        if response.status_code >= 500:
            raise PushFailed(f"{detail:.600} Nothing was published; send the request again.")
        hint = " Check the token." if response.status_code in (401, 403) else ""
        raise PushRefused(f"{detail:.600}{hint}")


def _read_error(content: bytes) -> tuple[str, str]:
    """Read the code and the message of an error of MLflow."""
    try:
        body = json.loads(content)
        return str(body["error_code"]), str(body.get("message", ""))
    except (ValueError, KeyError, TypeError):
        return "", " ".join(content.decode(errors="replace").split())[:200]


def _read_blocks(folder: ExportedFolder, name: str) -> Iterator[bytes]:
    with folder.open(name) as file:
        while block := file.read(BLOCK):
            yield block


def _milliseconds() -> int:
    return int(time.time() * 1000)
