"""A predictor that listens, and the API before it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request

from predictor.registration import Registration
from predictor.server import _guard
from service import app as api
from service.database import Database
from service.predictions import protocol, repository
from service.tables import Dataset
from tests.support.checkpoints import store_and_publish
from tests.support.images import encoded, noise
from tests.support.predicting import IMAGES, predict_plainly, running_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from starlette.responses import Response

    from tests.support.predicting import Trained

LINEAR = "linear"


@pytest.fixture(scope="module")
def address(trained: Trained) -> Iterator[str]:
    """The address of a predictor on the checkpoints."""
    with running_predictor(trained.settings) as address:
        yield address
    with closing(Database(trained.settings.database)) as database, database.reading() as session:
        assert not repository.find_alive(session), "one that ends removes itself"


@pytest.fixture
def app(trained: Trained, address: str) -> FastAPI:
    """The API before it."""
    return api.create_app(trained.settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the API."""
    with TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


def answers(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


def test_one_image_as_the_body(client: TestClient, trained: Trained) -> None:
    names, expected = predict_plainly(trained.files[LINEAR], IMAGES[:1])
    checkpoint = trained.ids[LINEAR]
    (found,) = answers(client.post(f"/v1/checkpoints/{checkpoint}/predict?top_k=2", content=IMAGES[0]))
    assert (found["image"], found["error"]) == (None, None)
    (prediction,) = found["predictions"]
    assert (prediction["model"], prediction["checkpoint"]) == (checkpoint, checkpoint)
    assert [entry["name"] for entry in prediction["classes"]] == [
        names[place] for place in expected[0].argsort(descending=True)[:2]
    ]
    assert prediction["classes"][0]["probability"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert set(prediction["set"]) <= set(names)
    assert prediction["unlike_training"] == (prediction["score"] > 1)


def test_a_form_with_many_and_a_broken_one(client: TestClient, trained: Trained) -> None:
    models = [trained.ids[name] for name in (LINEAR, "torchvision", "unfrozen", "multi-label")]
    files = [("file", ("a.png", IMAGES[0])), ("images", ("broken.jpg", b"\xff\xd8no")), ("file", ("b.png", IMAGES[1]))]
    found = answers(client.post("/v1/predict", files=files, data={"models": ",".join(models), "top_k": "1"}))
    assert [each["image"] for each in found] == ["a.png", "broken.jpg", "b.png"]
    assert [each["error"] is None for each in found] == [True, False, True], [each["error"] for each in found]
    assert set(found[1]["error"]) == {"code", "message"}
    assert found[1]["predictions"] == []
    for place in (0, 2):
        assert [each["checkpoint"] for each in found[place]["predictions"]] == models
        assert all(len(each["classes"]) == 1 for each in found[place]["predictions"])


def test_json_with_base64_and_images_of_a_dataset(app: FastAPI, client: TestClient, trained: Trained) -> None:
    digest = trained.pack.digests[0].tobytes().hex()
    with app.state.database.writing() as session:
        row = session.get_one(Dataset, "ds_1")
        row.pack, row.index = "small.pack", "small.index"
    with (
        app.state.storage.writing("small.pack") as pack,
        app.state.storage.writing("small.index") as index,
    ):
        pack.write((trained.folder / "small.pack").read_bytes())
        index.write((trained.folder / "small.index").read_bytes())
    images = [
        {"base64": base64.b64encode(IMAGES[0]).decode(), "name": "mine"},
        {"base64": "data:image/png;base64," + base64.b64encode(IMAGES[0]).decode()},
        {"dataset": "ds_1", "digest": f"sha256:{digest}"},
        {"dataset": "ds_1", "digest": "0" * 64},
        {"base64": "%%"},
    ]
    body = json.dumps({"images": images, "models": [trained.ids[LINEAR]]})
    found = answers(client.post("/v1/predict", content=body))
    assert [each["image"] for each in found] == ["mine", "1", f"sha256:{digest}", f"sha256:{'0' * 64}", "4"]
    assert found[0]["predictions"] == found[1]["predictions"]
    codes = [(each["error"] or {}).get("code") for each in found]
    assert codes == [None, None, None, "image_not_found", "base64_malformed"]


def make_bomb() -> bytes:
    """Make a small PNG of more pixels than are decoded."""
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no image", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (encoded(noise(0))[:60], "truncated"),
        (encoded(noise(0, 4, 4)), "too_small"),
    ],
)
def test_one_bad_image_alone_is_the_error(client: TestClient, trained: Trained, body: bytes, code: str) -> None:
    response = client.post(f"/v1/checkpoints/{trained.ids[LINEAR]}/predict", content=body)
    assert (response.status_code, response.json()["code"]) == (422, code), response.text


def test_a_bomb_is_refused_by_its_header(client: TestClient, trained: Trained) -> None:
    response = client.post(f"/v1/checkpoints/{trained.ids[LINEAR]}/predict", content=make_bomb())
    assert (response.status_code, response.json()["code"]) == (422, "too_large")


def test_any_size_and_orientation(client: TestClient, trained: Trained) -> None:
    image = noise(3, 300, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image.rotate(90, expand=True), exif=exif)
    address = f"/v1/checkpoints/{trained.ids[LINEAR]}/predict"
    assert answers(client.post(address, content=turned)) == answers(client.post(address, content=encoded(image)))


def test_a_checkpoint_that_cannot_be_loaded_is_named(app: FastAPI, client: TestClient, trained: Trained) -> None:
    damaged = trained.folder / "damaged.safetensors"
    content = trained.files["cosine"].read_bytes()
    damaged.write_bytes(content.replace(b'"architecture":"test_resnet"', b'"architecture":"test_resnot"'))
    checkpoint = store_and_publish(app.state.database, damaged).id
    response = client.post(f"/v1/checkpoints/{checkpoint}/predict", content=IMAGES[0])
    assert (response.status_code, response.json()["code"]) == (422, "model_unloadable")
    assert checkpoint in response.json()["detail"]
    assert "test_resnot" in response.json()["detail"]


def test_a_name_that_is_moved_or_deleted_is_so_for_the_next_request(client: TestClient, trained: Trained) -> None:
    for variant in (LINEAR, "linear again", LINEAR):
        moved = client.put("/v1/models/flowers", json={"checkpoint": trained.ids[variant]})
        assert moved.status_code in (200, 201), moved.text
        for _ in range(2):
            (found,) = answers(client.post("/v1/models/flowers/predict", content=IMAGES[0]))
            assert found["predictions"][0]["checkpoint"] == trained.ids[variant]
    assert client.delete("/v1/models/flowers").status_code == 204
    for _ in range(2):
        gone = client.post("/v1/models/flowers/predict", content=IMAGES[0])
        assert (gone.status_code, gone.json()["code"]) == (404, "model_not_found")


def test_many_at_once_are_answered_as_each_alone(client: TestClient, trained: Trained) -> None:
    address = f"/v1/checkpoints/{trained.ids[LINEAR]}/predict"
    alone = [answers(client.post(address, content=image)) for image in IMAGES]
    found: list[Any] = [None] * len(IMAGES)

    def ask(place: int) -> None:
        found[place] = answers(client.post(address, content=IMAGES[place]))

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(IMAGES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each[0]["predictions"][0]["classes"][0]["name"] for each in found] == [
        each[0]["predictions"][0]["classes"][0]["name"] for each in alone
    ]


def test_it_answers_the_api_alone(address: str) -> None:
    message = protocol.encode(protocol.Question([], [], 1, 0.9, is_alone=False), [])
    for headers in ({}, {protocol.SECRET_HEADER: "wrong"}):
        response = httpx.post(f"{address}{protocol.PATH}", content=message, headers=headers, trust_env=False)
        assert response.status_code == 403


def test_its_row_is_renewed(trained: Trained, address: str) -> None:
    database = Database(trained.settings.database)
    with database.reading() as session:
        (first,) = repository.find_alive(session)
    time.sleep(repository.HEARTBEAT_SECONDS + 1)
    with database.reading() as session:
        (second,) = repository.find_alive(session)
    database.close()
    assert second.address == first.address == address
    assert second.heartbeat_at > first.heartbeat_at


def test_short_memory_is_named() -> None:
    async def handle(request: Request) -> Response:
        raise MemoryError(request.url.path)

    registration = Registration(Database("sqlite://"), "http://127.0.0.1:1")
    headers = [(protocol.SECRET_HEADER.lower().encode(), registration.secret.encode())]
    asked = Request({"type": "http", "method": "POST", "path": "/", "headers": headers})

    async def ask() -> Response:
        return await _guard(registration, handle)(asked)

    response = asyncio.run(ask())
    assert (response.status_code, json.loads(bytes(response.body))["code"]) == (503, "out_of_memory")
