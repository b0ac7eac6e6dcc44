"""The accepted images of a dataset: pages with filters, and files as they were uploaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from models.datasets import pack
from service.datasets import pack_index
from service.storage import Storage
from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings

FILES = [f"<script>{number}</script>".encode() * (number + 1) for number in range(12)]


def write_pack(settings: Settings, folder: str, *, is_multi_label: bool = False) -> None:
    """Write a pack of files that are no images, as validation writes packs."""
    offset, entries = 0, []
    for number, content in enumerate(FILES):
        labels = (number % 2,) if not is_multi_label else tuple(range(number % 3))
        split = ("train", "validation", "test", "")[number % 4]
        flags = frozenset(name for bit, name in enumerate(pack.FLAGS) if number >> bit & 1)
        width, name = (10 + number if number < 10 else 100 * number), f"a/ü {number}.png"
        entries.append(
            pack.Entry(bytes([number]) * 32, offset, len(content), width, 300, labels, split, name, flags=flags)
        )
        offset += len(content)
    storage = Storage(settings.storage)
    with storage.writing(f"datasets/{folder}/pack.1") as file:
        file.write(b"".join(FILES))
    with storage.writing(f"datasets/{folder}/index.1") as file:
        pack.write_index(file, entries)


@pytest.fixture
def dataset(db: Database, settings: Settings) -> str:
    """The id of a dataset with twelve files."""
    write_pack(settings, "x")
    return add_dataset(db, pack="datasets/x/pack.1", index="datasets/x/index.1")


def list_all(client: TestClient, dataset: str, limit: int, **filters: str) -> list[dict[str, Any]]:
    """List all images that match, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit, **filters}
    while True:
        page = client.get(f"/v1/datasets/{dataset}/images", params=query).json()
        assert len(page["data"]) <= limit
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


def test_the_format_is_that_of_packs() -> None:
    assert pack_index.RECORD.size == pack.RECORD.itemsize
    assert pack_index.SPLITS[1:4] == pack.SPLIT_CODES[1:4]
    assert pack.SPLIT_CODES[pack_index.UNLABELLED_SPLIT] == pack.UNLABELLED
    assert pack_index.NO_LABEL == pack.NO_LABEL
    assert pack_index.FLAGS == pack.FLAGS


@pytest.mark.parametrize("limit", [1, 5, 12, 1000])
def test_pages_list_every_image_once(client: TestClient, dataset: str, limit: int) -> None:
    found = list_all(client, dataset, limit)
    assert [image["digest"] for image in found] == [(bytes([number]) * 32).hex() for number in range(12)]
    assert found[3] == {
        "id": f"{dataset}.3",
        "digest": "03" * 32,
        "file": "a/ü 3.png",
        "labels": ["dog"],
        "split": None,
        "flags": ["grayscale", "alpha", "small", "elongated"],
        "width": 13,
        "height": 300,
        "bytes": len(FILES[3]),
        "url": f"/v1/datasets/{dataset}/images/{'03' * 32}",
    }


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_filters_keep_what_matches(client: TestClient, dataset: str, limit: int) -> None:
    def places(**filters: str) -> list[int]:
        return [int(image["id"].split(".")[1]) for image in list_all(client, dataset, limit, **filters)]

    assert places(label="dog") == [1, 3, 5, 7, 9, 11]
    assert places(split="validation") == [1, 5, 9]
    assert places(label="cat", split="test") == [2, 6, 10]
    assert places(label="dog", split="test") == []
    assert places(flag="grayscale") == [1, 3, 5, 7, 9, 11]
    assert places(flag="deep") == [8, 9, 10, 11]
    assert places(flag="copies") == []
    assert places(flag="small", split="validation") == [1, 5, 9]
    assert places(flag="elongated") == [*range(10), 10, 11]
    assert places(flag="unlabelled") == []


def test_several_labels_or_none(client: TestClient, db: Database, settings: Settings) -> None:
    write_pack(settings, "y", is_multi_label=True)
    dataset = add_dataset(db, pack="datasets/y/pack.1", index="datasets/y/index.1", task="multi_label")
    found = list_all(client, dataset, 100)
    assert [image["labels"] for image in found[:3]] == [[], ["cat"], ["cat", "dog"]]
    assert len(list_all(client, dataset, 3, label="dog")) == 4
    assert len(list_all(client, dataset, 3, flag="unlabelled")) == 4


def test_files_come_unchanged_and_no_browser_opens_them(client: TestClient, dataset: str) -> None:
    for number, content in enumerate(FILES):
        response = client.get(f"/v1/datasets/{dataset}/images/{(bytes([number]) * 32).hex()}")
        assert (response.status_code, response.content) == (200, content)
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-disposition"] == f'attachment; filename="___{number}.png"'.replace("___", "__")
        assert response.headers["content-length"] == str(len(content))
    again = client.get(response.request.url, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = client.head(response.request.url)
    assert (head.status_code, head.content) == (200, b"")


def test_what_is_wrong_is_named(client: TestClient, db: Database, dataset: str) -> None:
    address = f"/v1/datasets/{dataset}/images"
    assert_problem(client.get(address, params={"label": "bird"}), 422, "label_unknown", "bird", "cat, dog")
    assert_problem(
        client.get(address, params={"flag": "pink"}), 422, "flag_unknown", "pink", "grayscale, alpha", "small"
    )
    assert_problem(client.get(address, params={"after": "other.1"}), 422, "position_unknown")
    for size in ("0", "513", "big"):
        assert client.get(f"{address}/{'00' * 32}", params={"size": size}).status_code == 422
    assert_problem(client.get(f"{address}/{'ff' * 32}?size=64"), 404, "image_not_found")
    assert client.get(address, params={"split": "all"}).status_code == 422
    for digest in ("ff" * 32, "zz", "00", "0" * 62 + "01", " 01" * 32):
        assert_problem(client.get(f"{address}/{digest}"), 404, "image_not_found", digest.strip(), address)
    for status in ("validating", "failed"):
        other = add_dataset(db, status)
        assert_problem(client.get(f"/v1/datasets/{other}/images"), 409, "dataset_not_validated")
    assert_problem(client.get("/v1/datasets/ds_none/images"), 404, "dataset_not_found")


def test_a_digest_across_two_records_is_none(client: TestClient, dataset: str) -> None:
    """The bytes of one record's end and the next one's start are no digest."""
    found = client.get(f"/v1/datasets/{dataset}/images/{'00' * 32}")
    assert found.content == FILES[0]


def test_a_dataset_of_an_earlier_release_has_measured_flags_alone(
    client: TestClient, db: Database, settings: Settings
) -> None:
    write_pack(settings, "old")
    storage = Storage(settings.storage)
    with storage.reading("datasets/old/index.1") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        records = file.read()
    del header["flags"]
    old = json.dumps(header).encode()
    with storage.writing("datasets/old/index.1") as file:
        file.write(len(old).to_bytes(8, "little") + old + records)
    dataset = add_dataset(db, pack="datasets/old/pack.1", index="datasets/old/index.1")
    found = list_all(client, dataset, 100)
    assert found[3]["flags"] == ["small", "elongated"]
    assert len(list_all(client, dataset, 100, flag="small")) == 10
    address = f"/v1/datasets/{dataset}/images"
    assert_problem(client.get(address, params={"flag": "deep"}), 409, "flags_not_recorded", dataset, "small")
