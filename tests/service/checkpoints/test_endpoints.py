"""HTTP of checkpoints: whole and partial downloads."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors import safe_open
from sqlalchemy import select, update

from models.runtime.checkpoint_file import write
from service import range_requests
from service.checkpoints import blobs, repository
from service.range_requests import Span
from service.tables import CheckpointTensor, Job, Trunk
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.datasets import add_dataset
from tests.support.pretrainings import add_pretraining
from tests.support.requests import assert_problem, create_job

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    """A file of some chunks."""
    write(tmp_path / "a", {"trunk": torch.randn(3 << 18), "head": torch.randn(7)}, {"k": "v"})
    return (tmp_path / "a").read_bytes()


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path, file: bytes) -> str:
    """The id of its checkpoint."""
    add_job(db)
    return store_and_publish(db, tmp_path / "a").id


def get(client: TestClient, checkpoint: str, method: str = "GET", **headers: str) -> Any:
    """Download."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, f"/v1/checkpoints/{checkpoint}/content", headers=named)


def test_the_whole_file_comes_with_the_headers_of_a_download(client: TestClient, checkpoint: str, file: bytes) -> None:
    response = get(client, checkpoint)
    digest = hashlib.sha256(file)
    assert (response.status_code, response.content) == (200, file)
    assert response.headers["content-length"] == str(len(file))
    assert response.headers["etag"] == f'"{digest.hexdigest()}"'
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert response.headers["content-disposition"] == 'attachment; filename="job_1-best.safetensors"'
    head = get(client, checkpoint, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    same = ("content-length", "etag", "accept-ranges", "repr-digest", "content-disposition", "content-type")
    assert get(client, checkpoint, "HEAD", range="bytes=0-9").status_code == 200, "only GET has ranges"
    assert {name: head.headers[name] for name in same} == {name: response.headers[name] for name in same}


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 4 << 20), length=st.integers(1, 2 << 20))
def test_every_range_is_that_slice(client: TestClient, checkpoint: str, file: bytes, first: int, length: int) -> None:
    response = get(client, checkpoint, range=f"bytes={first}-{first + length - 1}")
    if first >= len(file):
        assert_problem(response, 416, "range_not_satisfiable", str(len(file)))
        assert response.headers["content-range"] == f"bytes */{len(file)}"
        return
    stop = min(first + length, len(file))
    assert (response.status_code, response.content) == (206, file[first:stop])
    assert response.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(file)}"
    assert response.headers["content-length"] == str(stop - first)


def test_open_and_suffix_ranges(client: TestClient, checkpoint: str, file: bytes) -> None:
    assert get(client, checkpoint, range="bytes=100-").content == file[100:]
    assert get(client, checkpoint, range="bytes=-50").content == file[-50:]
    assert get(client, checkpoint, range=f"bytes=-{len(file) + 9}").content == file
    assert_problem(get(client, checkpoint, range="bytes=-0"), 416, "range_not_satisfiable")


@pytest.mark.parametrize(
    "range_", ["bytes=0-1,5-6", "bytes=5-2", "bytes=-", "items=0-1", "bytes=a-b", "bytes=٣-٤", "bytes=0-" + "9" * 5000]
)
def test_several_or_malformed_ranges_give_the_whole_file(range_: str) -> None:
    assert range_requests.parse_range({"range": range_}, '"e"', 100) is None


def test_if_range_gives_the_range_of_the_same_version_only() -> None:
    assert range_requests.parse_range({"range": "bytes=0-9", "if-range": '"e"'}, '"e"', 100) == Span(0, 10)
    assert range_requests.parse_range({"range": "bytes=0-9", "if-range": '"other"'}, '"e"', 100) is None
    assert range_requests.parse_range({"range": "bytes=0-9", "if-range": 'W/"e"'}, '"e"', 100) is None


def test_if_none_match_answers_not_modified(client: TestClient, checkpoint: str) -> None:
    etag = get(client, checkpoint, "HEAD").headers["etag"]
    for tag in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        response = get(client, checkpoint, if_none_match=tag)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    assert get(client, checkpoint, if_none_match='"x"').status_code == 200


def test_metadata_lists_and_deletion(client: TestClient, checkpoint: str, file: bytes) -> None:
    body = client.get(f"/v1/checkpoints/{checkpoint}").json()
    digest = f"sha256:{hashlib.sha256(file).hexdigest()}"
    assert (body["job"], body["kind"], body["bytes"], body["digest"]) == ("job_1", "best", len(file), digest)
    assert body["artifacts"][0]["digest"] == digest
    assert (body["statistics_bytes"], body["models"]) == (None, []), "as that of an earlier release"
    assert client.get(body["artifacts"][0]["url"]).content == file
    assert client.get("/v1/jobs/job_1/checkpoints").json()["data"] == [body]
    assert_problem(
        client.get(f"{body['artifacts'][0]['url']}".replace("safetensors", "coreml")), 422, "format_not_offered"
    )
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert_problem(client.get(f"/v1/checkpoints/{checkpoint}"), 404, "checkpoint_not_found")
    assert_problem(get(client, checkpoint), 404, "checkpoint_not_found")
    assert_problem(client.get("/v1/checkpoints/flowers"), 404, "checkpoint_not_found", "GET /v1/models/NAME says which")


def test_the_source_of_a_network_is_an_artifact_of_its_own(client: TestClient, db: Database, tmp_path: Path) -> None:
    source = "import torch\n# über 'alles'\n"
    write(tmp_path / "a", {"head": torch.randn(7)}, {"python": source})
    add_job(db)
    body = client.get(f"/v1/checkpoints/{store_and_publish(db, tmp_path / 'a').id}").json()
    weights, _, python = body["artifacts"]
    assert (weights["format"], python["format"], python["bytes"]) == ("safetensors", "python", len(source.encode()))
    response = client.get(python["url"])
    assert response.text == source
    assert python["digest"] == f"sha256:{hashlib.sha256(response.content).hexdigest()}"
    assert response.headers["content-disposition"] == 'attachment; filename="job_1-best.py"'
    again = client.get(python["url"], headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_head_has_what_the_trunk_lacks(client: TestClient, db: Database, tmp_path: Path) -> None:
    trunk = torch.randn(3 << 18)
    metadata = {"trained_tensors": '["head.bias", "head.weight"]', "backbone": "local/small"}
    add_job(db)
    found = []
    for number in range(2):
        own = {"head.weight": torch.full((4, 3), float(number)), "head.bias": torch.arange(4)}
        write(tmp_path / str(number), {"trunk": trunk, **own}, metadata)
        found.append(client.get(f"/v1/checkpoints/{store_and_publish(db, tmp_path / str(number)).id}").json())
    heads = [next(a for a in body["artifacts"] if a["format"] == "head") for body in found]
    for number, head in enumerate(heads):
        response = client.get(head["url"])
        assert len(response.content) == head["bytes"] < 2000
        assert f"sha256:{hashlib.sha256(response.content).hexdigest()}" == head["digest"]
        assert response.headers["content-disposition"] == 'attachment; filename="job_1-best.head.safetensors"'
        (tmp_path / "head").write_bytes(response.content)
        with safe_open(tmp_path / "head", "pt") as file:
            assert sorted(file.keys()) == ["head.bias", "head.weight"]
            assert file.get_tensor("head.weight").eq(number).all()
            assert file.metadata()["head_checkpoint_digest"] == found[number]["digest"]
        part = client.get(head["url"], headers={"Range": "bytes=5-99"})
        assert (part.status_code, part.content) == (206, response.content[5:100])
    with db.reading() as session:
        assert len(session.scalars(select(Trunk)).all()) == 1
        assert len(session.scalars(select(CheckpointTensor)).all()) == 4


def test_a_network_that_a_library_builds_has_no_source(client: TestClient, checkpoint: str) -> None:
    response = client.get(f"/v1/checkpoints/{checkpoint}/content?format=python")
    assert_problem(response, 422, "format_not_offered", "timm or torchvision builds")


def test_a_checkpoint_that_a_job_goes_on_from_cannot_be_deleted(
    client: TestClient, db: Database, checkpoint: str
) -> None:
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    child = create_job(client, add_dataset(db), backbone=checkpoint)
    assert (child["backbone"], child["parent"]) == (checkpoint, checkpoint)
    for address in (f"/v1/checkpoints/{checkpoint}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_in_use", child["id"], checkpoint, "cancel it")
    assert client.post(f"/v1/jobs/{child['id']}/cancel").status_code == 202
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204


def test_a_checkpoint_that_a_backbone_is_pretrained_from_cannot_be_deleted(
    client: TestClient, db: Database, checkpoint: str
) -> None:
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    made = add_pretraining(db, add_dataset(db, images=100), checkpoint)
    for address in (f"/v1/checkpoints/{checkpoint}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_in_use", made, checkpoint, "delete it")
    assert client.delete(f"/v1/backbones/{made}").status_code == 204
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204


def test_a_checkpoint_that_a_recommendation_is_to_measure_cannot_be_deleted(
    client: TestClient, db: Database, checkpoint: str
) -> None:
    with db.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    body = {"dataset": add_dataset(db), "candidates": [checkpoint]}
    made = client.post("/v1/backbones/recommend", json=body).json()["id"]
    for address in (f"/v1/checkpoints/{checkpoint}", "/v1/jobs/job_1"):
        assert_problem(client.delete(address), 409, "checkpoint_in_use", made, checkpoint, "cancel it")
    assert client.post(f"/v1/recommendations/{made}/cancel").status_code == 202
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204


def test_a_checkpoint_names_its_parent(client: TestClient, db: Database, checkpoint: str, tmp_path: Path) -> None:
    assert client.get(f"/v1/checkpoints/{checkpoint}").json()["parent"] is None
    child = create_job(client, add_dataset(db), backbone=checkpoint)["id"]
    manifest = blobs.store(db, tmp_path / "a")
    with db.writing() as session:
        repository.publish(
            session,
            job_id=child,
            manifest=manifest,
            kind="best",
            epoch=1,
            metrics={},
            classes=["a", "b"],
        )
    (result,) = client.get(f"/v1/jobs/{child}/checkpoints").json()["data"]
    assert result["parent"] == checkpoint
    assert client.get(f"/v1/checkpoints/{result['id']}").json() == result
