"""The page in a browser: whole journeys, without an error of a script, and accessible in every view."""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support import browser as browsers
from tests.support import deployments
from tests.support.images import coloured_classes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.extended

LONG = "a-long-name-" * 12
RENAMED = {"red": "rot", "green": "grün", "blue": "blau"}


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory, backbones: Path) -> Iterator[str]:
    """The address of a running service; the browser comes first, so that nothing starts where there is none."""
    with deployments.embedded(tmp_path_factory.mktemp("page"), backbones) as address:
        yield address


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 images in three classes, with names that a plain tar cannot hold, and a hidden file."""
    folder = tmp_path_factory.mktemp("photos") / "Fotos"
    for number, (name, content) in enumerate(coloured_classes(3, 20).items()):
        group, file = name.split("/")
        path = folder / RENAMED.get(group, group) / (f"{LONG}{number}.png" if number % 7 == 0 else file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / ".hidden").write_text("x")
    return folder


@pytest.fixture(scope="module")
def job(address: str, photos: Path) -> str:
    """The id of a job that has succeeded."""
    with Client(address) as client:
        dataset = client.wait_for_dataset(client.create_dataset(photos)["id"])
        job = client.create_job(dataset["id"], "local/small", name="First", publish="colours")
        return str(client.wait(job["id"])["id"])


def test_a_folder_becomes_a_right_answer(page: Page, address: str, photos: Path) -> None:
    page.goto("/")
    page.click("text=Add a dataset")
    page.set_input_files("#pick-folder", photos)
    page.wait_for_url(re.compile("/data/ds_"))
    page.wait_for_selector("h1:text('Fotos')")
    page.click("a:has-text('Train on it')")
    page.click("button:has-text('Start'):enabled")
    page.wait_for_url(re.compile("/jobs/job_"))
    page.wait_for_selector("h2:text('Result')")
    page.click("a:has-text('Try it')")
    image = sorted((photos / "grün").iterdir())[0]
    page.set_input_files("#photo-files", image)
    answer = page.locator(".answer").first
    answer.locator("li").first.wait_for()
    assert answer.locator("h2").inner_text() == "grün"
    with Client(address) as client:
        (dataset,) = [entry for entry in client.datasets() if entry["name"] == "Fotos"]
        assert dataset["images"] == 60
        assert {entry["name"] for entry in dataset["classes"]} == {"rot", "grün", "blau"}


def test_an_archive_that_is_dropped_is_validated_and_explained(page: Page) -> None:
    page.goto("/data")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["no archive"], "photos.zip"));
          document.getElementById("upload").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        }"""
    )
    page.wait_for_selector("#upload-error:visible")
    assert "is no .zip, .tar or .tar.gz" in page.inner_text("#upload-error")
    assert page.is_visible("text=Choose a folder")


def test_a_large_archive_goes_on_after_the_connection_broke(browser: Browser, address: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(2):
            for name, content in coloured_classes(2, 4).items():
                part = tarfile.TarInfo(f"{name}-{number}.png")
                part.size = len(content)
                tar.addfile(part, io.BytesIO(content))
        rest = tarfile.TarInfo("notes.txt")
        rest.size = 40 << 20
        tar.addfile(rest, io.BytesIO(random.Random(0).randbytes(rest.size)))
    pieces: list[int] = []

    def pass_on(route: Route) -> None:
        pieces.append(int(route.request.headers["upload-offset"]))
        if len(pieces) == 2:
            route.abort()
        else:
            route.continue_()

    page = browser.new_page(base_url=address)  # on whose console the broken connection is an error
    page.set_default_timeout(browsers.MILLISECONDS)
    page.route(re.compile("/v1/uploads/up_"), lambda r: pass_on(r) if r.request.method == "PATCH" else r.continue_())
    page.goto("/data")
    page.set_input_files("#pick-files", path)
    page.wait_for_url(re.compile("/data/ds_"))
    page.wait_for_selector("h1:text('noise')")
    page.wait_for_selector("#gallery li")
    assert pieces[:3] == [0, 16 << 20, 16 << 20]
    page.close()


def test_a_job_is_paused_resumed_and_stopped(page: Page, address: str, job: str) -> None:
    with Client(address) as client:
        dataset = client.job(job)["dataset"]
        endless = {"epochs": 100000, "early_stopping": None, "optimizer": {"kind": "sgd", "lr": 1e-6}}
        running = client.create_job(dataset, "local/small", endless, name="Endless")["id"]
    page.goto(f"/jobs/{running}")
    page.wait_for_selector("button:has-text('Pause')")
    page.wait_for_selector(".phases .now:has-text('Training')")
    page.wait_for_selector("canvas[aria-label^='Epoch ']:not([aria-label^='Epoch –'])")
    page.click("button:has-text('Pause')")
    page.wait_for_selector("button:has-text('Resume')")
    page.wait_for_selector("#state .badge:has-text('Paused')")
    page.click("button:has-text('Resume')")
    page.wait_for_selector("#state .badge:has-text('Running')")
    page.reload()
    page.click("button:has-text('Stop, keep the best')")
    page.wait_for_selector("text=You stopped it; the best epoch was kept.")


def test_a_recipe_is_chosen_in_words_as_a_form_and_as_json(page: Page, job: str) -> None:
    page.goto("/train")
    page.check("label:has-text('A few choices')")
    page.check("label:has-text('Left and right')")
    kinds = [entry["kind"] for entry in json.loads(page.input_value("#json"))["augmentations"]]
    assert kinds == ["crop", "colour", "horizontal_flip"]
    page.check("label:has-text('Everything')")
    page.locator(".schema-field[data-path='optimizer'] > .schema-inner > select").select_option(label="nesterov")
    chosen = json.loads(page.input_value("#json"))
    assert chosen["optimizer"]["kind"] == "nesterov"
    assert len(chosen["augmentations"]) == 3
    page.wait_for_selector("#check:has-text('This fits together.')")
    page.fill(".schema-field[data-path='optimizer.momentum'] input", "7")
    page.wait_for_selector("#check .bad:has-text('optimizer.momentum')")
    assert page.is_disabled("#start")
    assert page.get_attribute(".schema-field[data-path='optimizer.momentum'] input", "aria-invalid") == "true"
    page.fill("#json", '{"cut": "none", "search": {"trials": 4}}')
    page.wait_for_selector("#check .bad")
    page.fill("#json", '{"head": "mlp"}')
    page.wait_for_selector("#check:has-text('This fits together.')")
    page.click("summary:has-text('The same from a program')")
    assert '"recipe":{"head":"mlp"}' in page.inner_text("#copy-curl")
    assert '{"head": "mlp"}' in page.inner_text("#copy-python")


def test_images_are_seen_and_a_cell_opens_those_behind_it(page: Page, address: str, job: str) -> None:
    with Client(address) as client:
        dataset = client.job(job)["dataset"]
    page.goto(f"/data/{dataset}")
    page.locator(".thumbnail img").first.wait_for()
    page.select_option("#label", "rot")
    page.wait_for_selector("#gallery li:nth-child(21)", state="detached")
    assert page.locator("#gallery li").count() == 20
    page.goto(f"/jobs/{job}")
    page.locator(".matrix button").first.click()
    page.wait_for_selector("#mistakes strong")
    page.locator("#mistakes img").first.wait_for()
    assert page.evaluate("[...document.images].filter(image => image.complete && !image.naturalWidth)") == []


@pytest.mark.parametrize("form", browsers.FORMS)
def test_confidence_and_slices_are_explained_and_open_their_images(
    browser: Browser, address: str, job: str, form: str
) -> None:
    with browsers.opened(browser, address, form) as page:
        page.goto(f"/jobs/{job}")
        page.locator("#confidence").scroll_into_view_if_needed()
        page.focus("#threshold-percent")
        page.keyboard.press("End")
        page.wait_for_selector("#threshold:has-text('100%')")
        page.keyboard.press("Home")
        page.wait_for_selector("#threshold:has-text('From 0% on, it answers 100.0% of the images')")
        page.locator("#where").scroll_into_view_if_needed()
        page.select_option("#by", "format")
        page.wait_for_selector("#slices th:has-text('png')")
        page.click("summary:has-text('The diagram as a table')")
        assert browsers.find_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#confidence button.link").first.click()
        page.wait_for_selector("#mistakes strong:has-text('Most probable class from')")
        page.locator("#slices button").first.click()
        page.wait_for_selector("#mistakes strong:has-text('png')")
        page.locator("#mistakes img").first.wait_for()


def test_the_most_alike_training_images_are_shown(page: Page, job: str, photos: Path) -> None:
    page.goto("/try?model=colours")
    page.set_input_files("#photo-files", sorted((photos / "blau").iterdir())[0])
    page.locator("[data-part='nearest'] img").first.wait_for()
    assert page.locator("[data-part='nearest'] li").count() == 6
    assert "blau" in page.locator("[data-part='nearest'] .caption").first.inner_text()
    assert browsers.find_violations(page) == []


def test_what_spoke_for_an_answer_is_shown(page: Page, job: str, photos: Path) -> None:
    page.goto("/try?model=colours")
    page.set_input_files("#photo-files", sorted((photos / "rot").iterdir())[1])
    page.click("button:has-text('What spoke for it?')")
    page.wait_for_selector("img.saliency:visible")


def test_the_camera_is_asked(page: Page, job: str) -> None:
    page.goto("/try?model=colours")
    page.click("text=Use the camera")
    page.click("#take:enabled")
    page.locator(".answer li").first.wait_for()


def test_what_fails_is_said(page: Page, job: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("no image")
    page.goto("/try?model=colours")
    page.set_input_files("#photo-files", tmp_path / "photo.jpg")
    page.wait_for_selector(".answer [role=alert]:visible")


def test_a_key_is_made_and_shown_once(page: Page, job: str) -> None:
    page.goto("/keys")
    page.fill("#key-name", "a script")
    page.click("text=Make a key")
    page.wait_for_selector("#secret[open]")
    assert page.inner_text("#secret-text").startswith("graft_")
    page.click("#secret button:has-text('Done')")
    page.wait_for_selector("td:text('a script')")
    page.click("td button:has-text('Revoke')")
    page.click("dialog[open] button:has-text('Revoke')")
    page.wait_for_selector("text=Revoked")


def test_the_keyboard_reaches_the_content_and_the_theme_stays(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('main').contains(document.activeElement)")
    page.click("summary[aria-label='Menu']")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    page.click("summary[aria-label='Menu']")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_advice_starts_the_job_that_it_describes(page: Page, address: str, job: str) -> None:
    head = {"kind": "mlp", "hidden": [16] * 30, "activation": "sigmoid", "dropout": 0.0}
    deep = {"head": head, "optimizer": {"kind": "sgd", "lr": 1e-4}, "epochs": 1}
    with Client(address) as client:
        advised = client.create_job(client.job(job).dataset, "local/small", deep, name="Deep").wait()
        assert advised.diagnosis["findings"][0]["kind"] == "vanishing_gradients"
    page.goto(f"/jobs/{advised.id}")
    page.wait_for_load_state()
    page.locator("button:has-text('Train with this advice')").first.click()
    page.wait_for_selector("#advice[open] table")
    assert browsers.find_violations(page) == []
    held: list[Route] = []
    page.route(re.compile("/advice"), lambda route: held.append(route))
    for _ in range(2):
        page.click("#advice button:has-text('Close')")
        with page.expect_request(re.compile("/advice")):
            page.locator("button:has-text('Train with this advice')").first.click()
        page.wait_for_selector("#advised:has-text('Working out')")
        assert page.locator("#advised table").count() == 0, "what was there before has gone"
        if len(held) == 1:
            held[0].fulfill(status=422, content_type="application/problem+json", body='{"detail": "It does not fit."}')
            page.wait_for_selector("#advised:has-text('It does not fit.')")
    held[1].continue_()
    page.click("#advice button:has-text('Start now')")
    page.wait_for_selector("h1:text('Deep, with advice')")
    with Client(address) as client:
        following = client.job(page.url.rsplit("/", 1)[1]).wait()
    assert following.status == "succeeded"
    assert following.recipe["head"]["normalization"]["kind"] == "batch_norm"


@pytest.mark.parametrize("form", browsers.FORMS)
def test_every_view_is_accessible(browser: Browser, address: str, job: str, form: str) -> None:
    with Client(address) as client:
        dataset = client.job(job)["dataset"]
        other = client.wait(client.create_job(dataset, "local/small", {"head": "mlp"})["id"])["id"]
        predicted = client.create_prediction(dataset, ["colours"])["id"]
    views = [
        *("/", "/data", "/train", "/jobs", "/try", "/models", "/backbones", "/backbones/import", "/cache", "/workers"),
        *("/keys", "/predictions", f"/predictions/{predicted}", "/login", "/data/none"),
        *("/backbones/local/small", "/models/colours", f"/data/{dataset}", f"/data/{dataset}/skipped", f"/jobs/{job}"),
        f"/jobs/compare?id={job}&id={other}",
    ]
    with browsers.opened(browser, address, form) as page:
        for view in views:
            page.goto(view, wait_until="networkidle")
            assert browsers.find_violations(page) == [], view
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        page.goto("/train", wait_until="networkidle")
        page.check("label:has-text('Everything')")
        page.wait_for_selector(".schema-field")
        assert browsers.find_violations(page) == []
