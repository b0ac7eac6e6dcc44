"""Saliency maps of images by checkpoints: where on the image they lie, and the API that passes them on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

import migrations
from models.images.preprocessing import Preprocessing
from models.images.views import Views
from models.pipeline.fine_tune import fine_tune
from predictor.saliency import find_region
from service.database import Database
from service.settings import Settings
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.images import coloured, encoded
from tests.support.predicting import running_api
from tests.support.small_job import small_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
@pytest.mark.parametrize(("width", "height"), [(300, 300), (400, 250), (200, 500)])
@pytest.mark.parametrize("size", [(3, 96, 96), (3, 64, 96)])
def test_the_region_is_what_the_network_sees(
    mode: str, crop_pct: float, width: int, height: int, size: tuple[int, int, int]
) -> None:
    preprocessing = Preprocessing(size, "bilinear", (0.5,) * 3, (0.5,) * 3, crop_pct, mode)
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.round(np.linspace(1, 254, width))[None]
    ramp[..., 1] = np.round(np.linspace(1, 254, height))[:, None]
    seen = Views(preprocessing, (), exact=True).render(Image.fromarray(ramp), b"", 0).astype(float)
    share_x, share_y = find_region(preprocessing, width, height)
    rows, columns = size[1:]
    # Between two pixels well inside, colours change by the share of the image that lies between them.
    found_x = (seen[0, rows // 2, columns * 5 // 8] - seen[0, rows // 2, columns * 3 // 8]) / 253
    found_y = (seen[1, rows * 5 // 8, columns // 2] - seen[1, rows * 3 // 8, columns // 2]) / 253
    assert found_x == pytest.approx(share_x / 4, abs=0.015)
    assert found_y == pytest.approx(share_y / 4, abs=0.015)
    middle = seen[0, rows // 2, columns // 2 - 1 : columns // 2 + 1].mean()
    assert middle == pytest.approx(127.5, abs=6), "it lies in the middle"


class Deployment(NamedTuple):
    """An API before a predictor, and checkpoints by the cut of their job."""

    client: TestClient
    checkpoints: dict[str, str]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run a predictor on two small checkpoints."""
    folder = tmp_path_factory.mktemp("saliency")
    (folder / "data").mkdir()
    settings = Settings(data=folder / "data", device="cpu")
    migrations.upgrade(settings.database)
    database = Database(settings.database)
    add_job(database)
    checkpoints = {}
    for cut in ("all", "top"):
        job = small_job(folder, cut, epochs=1, cut=cut)
        list(fine_tune(*job))
        checkpoints[cut] = store_and_publish(database, job.checkpoint).id
    database.close()
    with running_api(settings) as client:
        yield Deployment(client, checkpoints)


@pytest.mark.parametrize("cut", ["all", "top"])
def test_a_map_is_laid_over_the_image(deployment: Deployment, cut: str) -> None:
    image = encoded(Image.open(io.BytesIO(coloured(0, 7))).resize((1200, 600)))
    address = f"/v1/checkpoints/{deployment.checkpoints[cut]}/saliency"
    response = deployment.client.post(address, content=image)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png"), response.text
    drawn = Image.open(io.BytesIO(response.content))
    assert (drawn.mode, drawn.size) == ("RGBA", (512, 256))
    opacity = np.asarray(drawn)[..., 3]
    assert opacity.max() > 200
    assert not opacity[:, :100].any(), "the network does not see the sides of a wide image"
    names = deployment.client.post(address.replace("saliency", "predict"), content=image).json()
    best, *others = [each["name"] for each in names["data"][0]["predictions"][0]["classes"]]
    assert deployment.client.post(address, content=image, params={"class": best}).content == response.content
    assert deployment.client.post(address, content=image, params={"class": others[0]}).content != response.content


def test_what_is_wrong_is_named(deployment: Deployment) -> None:
    address, image = f"/v1/checkpoints/{deployment.checkpoints['all']}/saliency", coloured(0, 7)

    def code(content: bytes, **query: str) -> tuple[int, str]:
        response = deployment.client.post(address, content=content, params=query)
        return response.status_code, response.json()["code"]

    assert code(b"no image") == (422, "not_an_image")
    assert code(b"") == (422, "no_image")
    assert code(image, **{"class": "violet"}) == (422, "label_unknown")
    assert code(b'{"images": [], "models": ["a"]}')[0] == 422
    form = deployment.client.post(address, files=[("file", ("a.png", image)), ("file", ("b.png", image))])
    assert (form.status_code, form.json()["code"]) == (422, "too_many_images")
    unknown = deployment.client.post("/v1/models/nothing/saliency", content=image)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")
