"""The client against a service that misbehaves: a small real HTTP server."""

from __future__ import annotations

import tarfile
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
import pytest

from graft.client import Client
from graft.errors import DownloadDamaged, GraftError
from graft.upload_source import list_source
from tests.support.misbehaving_server import DIGEST, FILE, give_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.misbehaving_server import Handler


def test_a_broken_download_resumes(server: type[Handler], client: Client, tmp_path: Path) -> None:
    server.answers["GET", "/v1/checkpoints/c"] = lambda h: h.give_json({"digest": f"sha256:{DIGEST}"})
    server.answers["GET", "/v1/checkpoints/c/content"] = give_file([700_000, 200_000, 1])
    path = client.download("c", tmp_path / "best")
    assert path.read_bytes() == FILE
    assert [file.name for file in tmp_path.iterdir()] == ["best"]
    starts = [headers.get("range") for _, address, headers in server.asked if "content" in address]
    assert len(starts) == 4
    assert starts[0] is None
    assert all(starts[1:])


def test_source_of_a_network_is_put_beside_its_file(server: type[Handler], client: Client, tmp_path: Path) -> None:
    artifacts = [{"format": "python", "digest": f"sha256:{DIGEST}"}]
    answer = {"digest": f"sha256:{DIGEST}", "artifacts": artifacts}
    server.answers["GET", "/v1/checkpoints/c"] = lambda h: h.give_json(answer)
    server.answers["GET", "/v1/checkpoints/c/content"] = give_file([])
    client.download("c", tmp_path / "best.safetensors")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.py", "best.safetensors"]
    assert "format=python" in server.asked[-1][1]


def test_an_export_is_waited_for(server: type[Handler], client: Client, tmp_path: Path) -> None:
    states = [202, 202, 200]

    def head(handler: Handler) -> None:
        handler.give(b"", states.pop(0), ETag=f'"{DIGEST}"', Retry_After="0")

    server.answers["HEAD", "/v1/checkpoints/c/content"] = head
    server.answers["GET", "/v1/checkpoints/c/content"] = give_file([700_000])
    assert client.export("c", tmp_path / "a.onnx", "onnx", softmax="true").read_bytes() == FILE
    assert states == []
    assert all("format=onnx&softmax=true" in address for _, address, _ in server.asked)


def test_an_export_that_fails_says_why(server: type[Handler], client: Client, tmp_path: Path) -> None:
    server.answers["HEAD", "/v1/checkpoints/c/content"] = lambda h: h.give(b"", 422)
    problem = {"code": "export_failed", "detail": "They part at layer3."}
    server.answers["GET", "/v1/checkpoints/c/content"] = lambda h: h.give_json(problem, 422)
    with pytest.raises(GraftError, match="part at layer3"):
        client.export("c", tmp_path / "a.pt2", "pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_is_not_kept(server: type[Handler], client: Client, tmp_path: Path) -> None:
    server.answers["GET", "/v1/checkpoints/c"] = lambda h: h.give_json({"digest": f"sha256:{DIGEST}"})
    server.answers["GET", "/v1/checkpoints/c/content"] = give_file([], b"x" * 100)
    with pytest.raises(DownloadDamaged, match="try again"):
        client.download("c", tmp_path / "best")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_stream_resumes_after_the_last_event(server: type[Handler], client: Client) -> None:
    def events(handler: Handler) -> None:
        after = int(handler.headers.get("Last-Event-ID") or 0)
        lines = [f'id: {n}\ndata: {{"id": "{n}", "seq": {n}}}\n\n' for n in range(after + 1, 7)]
        body = "".join(lines).encode()
        handler.give(body, 200, len("".join(lines[:2])) if after < 4 else None, Content_Type="text/event-stream")

    server.answers["GET", "/v1/jobs/j/events"] = events
    server.answers["GET", "/v1/jobs/j"] = lambda h: h.give_json({"status": "succeeded"})
    assert [event["seq"] for event in client.events("j")] == [1, 2, 3, 4, 5, 6]


def test_a_problem_becomes_an_error_with_its_code(server: type[Handler], client: Client) -> None:
    body = {"code": "job_not_found", "detail": "There is no job j.", "status": 404}
    server.answers["GET", "/v1/jobs/j"] = lambda h: h.give_json(body, 404)
    with pytest.raises(GraftError, match="There is no job j") as caught:
        client.job("j")
    assert (caught.value.status, caught.value.code) == (404, "job_not_found")
    server.answers["GET", "/v1/jobs/j"] = lambda h: h.give(b"<html>", 502, Content_Type="text/html")
    with pytest.raises(GraftError, match="502"):
        client.job("j")


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"null", b'"text"'])
def test_an_answer_that_is_no_object_is_of_another_program(
    client: Client, server: type[Handler], answer: bytes
) -> None:
    server.answers["GET", "/v1/jobs/j"] = lambda handler: handler.give(answer)
    with pytest.raises(GraftError, match="without a JSON object: another program may listen there"):
        client.job("j")


def test_a_repeated_request_for_a_job_carries_one_key(server: type[Handler], client: Client) -> None:
    tries = [b"", b""]

    def create(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        if tries:
            tries.pop()
            handler.close_connection = True
        else:
            handler.give_json({"id": "j"}, 202)

    server.answers["POST", "/v1/jobs"] = create
    assert client.create_job("d", "b")["id"] == "j"
    keys = [headers["idempotency-key"] for method, _, headers in server.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_lists_iterate_over_all_pages(server: type[Handler], client: Client) -> None:
    def page(handler: Handler) -> None:
        last = "after=b" in handler.path
        handler.give_json(
            {"data": [{"id": "c"}] if last else [{"id": "a"}, {"id": "b"}], "has_more": not last, "last_id": "b"}
        )

    server.answers["GET", "/v1/jobs"] = page
    assert [job["id"] for job in client.jobs(status="failed")] == ["a", "b", "c"]
    assert all("status=failed" in address for _, address, _ in server.asked)


def test_an_unreachable_service_is_reported_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.connection.PAUSE_SECONDS", 0.0)
    with Client("http://127.0.0.1:9") as client, pytest.raises(httpx.ConnectError):
        client.job("j")


def test_requests_to_this_machine_bypass_the_environments_proxy(
    server: type[Handler], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers["GET", "/v1/jobs/j"] = lambda handler: handler.give_json({"id": "j"})
    with Client(client.url) as direct:
        assert direct.job("j") == {"id": "j"}


def test_a_service_that_stays_away_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.connection.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("graft.connection.PAUSE_SECONDS", 0.05)
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(httpx.TransportError):
        nobody.wait("job")


def test_a_folder_is_sent_as_a_tar(tmp_path: Path) -> None:
    files = {"cat/1.png": b"one", "dog/deep/2.png": b"2" * 3_000_000, "dog/3.png": b""}
    for name, data in {**files, ".hidden": b"no", ".git/config": b"no"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with tarfile.open(fileobj=BytesIO(b"".join(list_source(tmp_path).read_blocks()))) as archive:
        found = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert found == files


def test_a_linked_folder_is_sent_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for folder in ("photos/dog", "elsewhere/cat"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").write_bytes(b"1")
    photos = tmp_path / "photos"
    (photos / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (photos / "dog" / "loop").symlink_to(photos)
    (photos / "dog" / "broken").symlink_to(tmp_path / "none")
    assert [str(file.relative_to(photos)) for file in list_source(photos).files] == ["cat/1.png", "dog/1.png"]
    with pytest.raises(FileNotFoundError):
        list_source(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "name"),
    [("v1.2 photos/", "v1.2 photos"), ("a.tar.gz", "a"), ("b.ZIP", "b"), ("c.2024.tgz", "c.2024"), ("d\n1.zip", "d 1")],
)
def test_a_dataset_is_named_after_its_folder_or_archive(
    server: type[Handler], client: Client, tmp_path: Path, path: str, name: str
) -> None:
    def create(handler: Handler) -> None:
        while int(handler.rfile.readline() or b"0", 16):
            handler.rfile.readline()
        handler.give_json({"id": "ds"}, 202)

    def create_from_file(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.give_json({"id": "ds"}, 202)

    given = tmp_path / path
    given.mkdir() if path.endswith("/") else given.touch()
    server.answers["POST", "/v1/datasets"] = create if given.is_dir() else create_from_file
    client.create_dataset(given)
    (_, address, _) = server.asked[-1]
    assert parse_qs(address.partition("?")[2])["name"] == [name]
