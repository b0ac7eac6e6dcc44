"""A running service whose storage is a bucket of S3: a job, an export of its checkpoint, and its file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import onnx
import pytest

from graft.client import Client
from tests.support import deployments
from tests.support.s3_server import serve_s3

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended


def test_an_export_lies_in_the_bucket_by_its_content_and_is_downloaded_from_there(
    tmp_path: Path, backbones: Path, archive: Path
) -> None:
    with serve_s3() as bucket:
        more = {**bucket.environment, "GRAFT_STORAGE_URL": "s3://bucket/graft"}
        with deployments.embedded(tmp_path / "data", backbones, **more) as address, Client(address) as client:
            dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])
            assert dataset["status"] == "ready", dataset
            job = client.wait(client.create_job(dataset["id"], "local/small", {"epochs": 2})["id"])
            assert job["status"] == "succeeded", job
            checkpoint = job["checkpoints"][0]
            content = client.export(checkpoint, tmp_path / "model.onnx", "onnx", softmax="true").read_bytes()
            onnx.checker.check_model(onnx.load_from_string(content))
            digest = hashlib.sha256(content).hexdigest()
            stored = {name: data for name, data in bucket.objects.items() if "/exports/" in name}
            assert [name.split("/")[:3] for name in stored] == [["bucket", "graft", "exports"]]
            assert [digest in name for name in stored] == [True]
            assert list(stored.values()) == [content]
            url = f"{address}/v1/checkpoints/{checkpoint}/content?format=onnx&softmax=true"
            part = httpx.get(url, headers={"Range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, content[1000:2000])
            assert part.headers["etag"] == f'"{digest}"'
            assert httpx.get(f"{address}/v1/datasets/{dataset['id']}/images?limit=1").is_success
            assert httpx.delete(f"{address}/v1/checkpoints/{checkpoint}").status_code == 204
            assert not any("/exports/" in name for name in bucket.objects)
        assert bucket.uploads == {}, "no upload is left half done"
