"""Screenshots of the page for the guide, of a service that has trained on drawn shapes: `make screenshots`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from demo.rendering import LETTERS, SHAPES, render
from demo.standalone import standalone
from graft.client import Client
from tools.chromium import find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "screenshots"
CLASSES = ("arrow", "drop", "knot", "spiral", "star5", "triangle")
IMAGES = 60
"""Of each class."""
WIDTH, HEIGHT = 1280, 800
MILLISECONDS = 60_000


def write_images(folder: Path) -> Path:
    """Write the drawn shapes, a folder for each class; returns an image that is not among them."""
    names = list(SHAPES)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            _draw(names.index(name), number).save(folder / name / f"{number:02}.png")
    other = folder.parent / "spiral.png"
    _draw(names.index("spiral"), IMAGES).save(other)
    return other


def _draw(shape: int, seed: int) -> Image.Image:
    return Image.fromarray(render(len(LETTERS) + shape, np.random.default_rng((shape, seed))))


def take_all(address: str, folder: Path, program: str) -> None:
    """Take the screenshots of a service with a Chromium, with images that are written to a folder."""
    from playwright.sync_api import sync_playwright

    photo = write_images(folder / "shapes")
    with Client(address) as client:
        dataset = client.wait_for_dataset(client.create_dataset(folder / "shapes", name="Shapes")["id"])["id"]
        created = client.create_job(dataset, "local/rendered_shapes", name="Shapes", publish="shapes")
        job = client.wait(created["id"])["id"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(MILLISECONDS)
        page.goto(f"/data/{dataset}", wait_until="networkidle")
        page.wait_for_selector("#gallery img")
        _save(page, "dataset", height=1180)
        page.goto(f"/train?dataset={dataset}", wait_until="networkidle")
        _save(page, "train")
        page.goto(f"/jobs/{job}", wait_until="networkidle")
        page.wait_for_selector("h2:text('Result')")
        _save(page, "job", height=1180)
        page.goto("/try?model=shapes", wait_until="networkidle")
        page.set_input_files("#photo-files", photo)
        page.locator(".answer li").first.wait_for()
        page.evaluate("scrollTo(0, 0)")
        _save(page, "try", height=1000)
        browser.close()


def _save(page: Page, name: str, height: int = HEIGHT) -> None:
    """Save what the page shows as a small WebP."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # curves are drawn to their new size
    shown = Image.open(io.BytesIO(page.screenshot()))
    shown.save(FOLDER / f"{name}.webp", quality=82, method=6)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


if __name__ == "__main__":
    chromium = find_chromium()
    if chromium is None:
        sys.exit("There is no Chromium on this machine: install chromium.")
    with (
        tempfile.TemporaryDirectory(prefix="graft-screenshots-") as temporary,
        standalone(Path(temporary) / "data", ROOT / "demo" / "backbones") as service,
    ):
        take_all(service, Path(temporary), chromium)
