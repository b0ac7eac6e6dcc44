"""Thumbnails are kept by content and size, within a bound, and made anew where they cannot be kept."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import migrations
from models.datasets.pack import Entry, write_index
from predictor.errors import PredictionFailed
from predictor.thumbnails import COUNTED, FILE, Thumbnails, ThumbnailStore
from service import app as api
from service.database import Database
from service.datasets.thumbnails import ThumbnailOrder
from service.settings import Settings
from service.storage import Storage
from tests.support.datasets import add_dataset
from tests.support.images import encoded, noise
from tests.support.predicting import running_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = [encoded(noise(seed, 200, 100)) for seed in range(2)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a pack of two images."""
    settings = Settings(data=tmp_path)
    with Storage(settings.storage).writing("pack") as file:
        file.write(b"".join(FILES))
    return settings


@pytest.fixture
def thumbnails(settings: Settings) -> Iterator[Thumbnails]:
    """Thumbnails of its images."""
    made = Thumbnails(settings)
    yield made
    made.close()


def order(number: int, size: int = 64, pack: str = "pack") -> ThumbnailOrder:
    offset = sum(map(len, FILES[:number]))
    decoding = {"version": 2, "depth": None}
    made = ThumbnailOrder(f"{number:064x}", pack, offset, len(FILES[number]), decoding, size)
    assert ThumbnailOrder.from_bytes(made.to_bytes()) == made
    return made


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """A database of these settings."""
    migrations.upgrade(settings.database)
    database = Database(settings.database)
    yield database
    database.close()


def get(thumbnails: Thumbnails, order: ThumbnailOrder) -> bytes:
    return asyncio.run(thumbnails.get(order))


def test_is_made_once(thumbnails: Thumbnails, settings: Settings) -> None:
    first, second = [get(thumbnails, order(number)) for number in range(2)]
    assert first[:2] == second[:2] == b"\xff\xd8"
    assert first != second != get(thumbnails, order(1, 128))
    Storage(settings.storage).delete("pack")
    assert get(thumbnails, order(0)) == first
    with pytest.raises(PredictionFailed) as failed:
        get(thumbnails, order(0, 256))
    assert (failed.value.status, failed.value.code) == (503, "dataset_unreadable")


def test_a_file_that_is_no_database_is_not_needed(thumbnails: Thumbnails, settings: Settings) -> None:
    settings.cache.mkdir()
    (settings.cache / FILE).write_bytes(b"no database" * 1000)
    assert get(thumbnails, order(0)) == get(thumbnails, order(0))


def test_a_bad_image_is_named(thumbnails: Thumbnails) -> None:
    bad = ThumbnailOrder("0" * 64, "pack", 1, 50, {"version": 2, "depth": None}, 64)
    with pytest.raises(PredictionFailed) as failed:
        get(thumbnails, bad)
    assert (failed.value.status, failed.value.code) == (422, "not_an_image")


def test_the_oldest_go_first(tmp_path: Path) -> None:
    store = ThumbnailStore(tmp_path / FILE, most_bytes=100 * 10)
    other = ThumbnailStore(tmp_path / FILE)
    for number in range(COUNTED + 1):
        store.add(str(number), b"x" * 10)
    kept = [number for number in range(COUNTED + 1) if other.find(str(number))]
    assert kept == list(range(COUNTED - 89, COUNTED + 1)), "90% of the bytes are left"
    store.close()
    other.close()


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """The address of a predictor that listens."""
    with running_predictor(settings) as address:
        yield address


@pytest.fixture
def dataset(db: Database, settings: Settings) -> str:
    """The address of a dataset of the pack's images."""
    digests = [order(number).digest for number in range(2)]
    entries = [
        Entry(bytes.fromhex(digest), order(number).offset, len(FILES[number]), 200, 100, (number,), "", "a.png")
        for number, digest in enumerate(digests)
    ]
    with Storage(settings.storage).writing("index") as file:
        write_index(file, entries)
    return f"/v1/datasets/{add_dataset(db, pack='pack', index='index')}"


def test_the_api_passes_them_on(settings: Settings, dataset: str, address: str) -> None:
    image = f"{dataset}/images/{order(1).digest}"
    with TestClient(api.create_app(settings), "http://127.0.0.1:8000") as client:
        response = client.get(image, params={"size": 50})
        assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg"), response.text
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
        with Image.open(io.BytesIO(response.content)) as made:
            assert (made.format, made.size) == ("JPEG", (64, 32))
        assert client.get(image, params={"size": 64}).headers["etag"] == response.headers["etag"]
        assert client.get(image, params={"size": 65}).headers["etag"] != response.headers["etag"]
        again = client.get(image, params={"size": 50}, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(image).content == FILES[1]
    refused = httpx.post(f"{address}/thumbnail", content=b"{}", trust_env=False)
    assert refused.status_code == 403
