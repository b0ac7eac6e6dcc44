"""The client against a service that is away or unavailable for a while."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from graft.errors import GraftError, read_retry_after
from tests.support.misbehaving_server import DIGEST, FILE, give_file

if TYPE_CHECKING:
    from pathlib import Path

    from graft.client import Client
    from tests.support.misbehaving_server import Answer, Handler

UNAVAILABLE = {"code": "database_unavailable", "detail": "The database does not answer now.", "status": 503}


def unavailable(times: int, then: Answer, after: str = "0") -> Answer:
    """A service that is unavailable for some requests."""
    left = [None] * times

    def answer(handler: Handler) -> None:
        handler.read_body()
        if left:
            left.pop()
            body = json.dumps(UNAVAILABLE).encode()
            handler.give(body, 503, Content_Type="application/problem+json", Retry_After=after)
        else:
            then(handler)

    return answer


def test_a_service_that_is_unavailable_for_a_while_is_asked_again(server: type[Handler], client: Client) -> None:
    done: Answer = lambda handler: handler.give_json({"id": "j", "status": "queued"}, 202)  # noqa: E731
    for method, path in (("GET", "/v1/jobs/j"), *(("POST", f"/v1/jobs{path}") for path in ("", "/j/resume"))):
        server.answers[method, path] = unavailable(7, done)
    assert client.job("j")["id"] == "j"
    assert client.create_job("d", "b")["id"] == "j"
    assert client.resume("j")["id"] == "j"
    keys = {headers.get("idempotency-key") for _, path, headers in server.asked if path == "/v1/jobs"}
    assert len(keys) == 1
    assert keys != {None}


def test_a_service_that_stays_unavailable_is_given_up(
    server: type[Handler], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.connection.PATIENCE_SECONDS", 0.2)
    server.answers["GET", "/v1/jobs/j"] = unavailable(10**6, lambda _: None)
    with pytest.raises(GraftError, match="database does not answer") as caught:
        client.job("j")
    assert (caught.value.status, caught.value.retry_after) == (503, 0.0)
    server.answers["GET", "/v1/jobs/j"] = unavailable(10**6, lambda _: None, after="3600")
    with pytest.raises(GraftError, match="database does not answer"):
        client.job("j")
    monkeypatch.setattr("graft.connection.PATIENCE_SECONDS", 0.0)
    server.answers["GET", "/v1/jobs/j/events"] = unavailable(10**6, lambda _: None)
    with pytest.raises(GraftError, match="database does not answer"):
        client.wait("j")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("Fri, 01 Jan 2100 00:00:00 GMT", 1e8), ("Fri, 01 Jan 2010 00:00:00 GMT", 0.0), ("soon", None)],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    found = read_retry_after(httpx.Response(503, headers={"Retry-After": value}))
    assert found == seconds or (found is not None and seconds is not None and 0 < seconds <= found)
    assert read_retry_after(httpx.Response(404, headers={"Retry-After": value})) is None


def test_events_and_downloads_wait_for_a_service_that_is_unavailable(
    server: type[Handler], client: Client, tmp_path: Path
) -> None:
    event = b'data: {"id": "j.1", "seq": 1}\n\n'
    server.answers["GET", "/v1/jobs/j/events"] = unavailable(3, lambda h: h.give(event))
    server.answers["GET", "/v1/jobs/j"] = unavailable(3, lambda h: h.give_json({"status": "succeeded"}))
    assert [event["seq"] for event in client.events("j")] == [1]
    server.answers["GET", "/v1/checkpoints/c"] = lambda h: h.give_json({"digest": f"sha256:{DIGEST}"})
    server.answers["GET", "/v1/checkpoints/c/content"] = unavailable(3, give_file([]))
    assert client.download("c", tmp_path / "best").read_bytes() == FILE


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_an_upload_is_repeated_with_one_key(server: type[Handler], client: Client, tmp_path: Path, kind: str) -> None:
    bodies: list[bytes] = []

    def create(handler: Handler) -> None:
        bodies.append(handler.read_body())
        if len(bodies) < 3:
            handler.close_connection = True
        else:
            handler.give_json({"id": "ds"}, 202)

    server.answers["POST", "/v1/datasets"] = create
    path = tmp_path / "photos"
    if kind == "folder":
        path.mkdir()
        (path / "1.png").write_bytes(b"one")
    else:
        path.write_bytes(FILE)
    assert client.create_dataset(path)["id"] == "ds"
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    keys = {headers["idempotency-key"] for _, _, headers in server.asked}
    assert len(keys) == 1


def test_an_upload_from_a_pipe_is_sent_once(server: type[Handler], client: Client, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"archive",))
    writer.start()
    server.answers["POST", "/v1/datasets"] = unavailable(1, lambda h: h.give_json({"id": "ds"}, 202))
    with pytest.raises(GraftError, match="database does not answer"):
        client.create_dataset(pipe)
    writer.join()
    assert len(server.asked) == 1


def test_a_resumption_whose_answer_was_lost_is_no_error(server: type[Handler], client: Client) -> None:
    refused = {"code": "wrong_state", "detail": "Job j is queued; only a paused job can be resumed.", "status": 409}
    tries: list[int] = []

    def resume(handler: Handler) -> None:
        tries.append(1)
        if len(tries) == 1:
            handler.close_connection = True
        else:
            handler.give_json(refused, 409)

    server.answers["POST", "/v1/jobs/j/resume"] = resume
    server.answers["GET", "/v1/jobs/j"] = lambda h: h.give_json({"id": "j", "status": "queued"})
    assert client.resume("j")["status"] == "queued"
