"""The page as a stranger uses it: from a folder of photographs to a right answer on a new one, in each deployment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support import browser as browsers
from tests.support import deployments
from tests.support.images import coloured_classes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.extended


@pytest.fixture(params=["embedded", "production"])
def address(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path, backbones: Path) -> Iterator[str]:
    """The address of a running service of each form; the browser comes first, so that nothing starts without one."""
    if request.param == "embedded":
        running = deployments.embedded(tmp_path, backbones)
    else:
        urls = (request.getfixturevalue("postgresql_url"), request.getfixturevalue("redis_url"))
        running = deployments.production(tmp_path, backbones, *urls)
    with running as address:
        yield address


def test_a_folder_becomes_a_right_answer_twice_in_eight_clicks_each(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    for number, words in enumerate((("rust", "moss", "sea"), ("brick", "leaf", "ink"))):
        folder, news = _write_photos(tmp_path / f"photos-{number}", words)
        with browsers.opened(browser, address) as page:
            clicks = _train(page, folder)
            clicks += _click(page, "a:has-text('Try it')")
            for name, photo in news.items():
                answer = page.locator(".answer").first
                with page.expect_file_chooser() as chooser:
                    clicks += _click(page, "button:has-text('Choose photographs')")
                chooser.value.set_files(photo)
                answer.locator(f"h2:text-is('{name}')").wait_for()
        assert clicks <= 5 + len(news)


def _write_photos(folder: Path, words: tuple[str, ...]) -> tuple[Path, dict[str, Path]]:
    """Write 20 images of each class; gives their folder, and an image of each class that is not in it."""
    names = dict(zip(("red", "green", "blue"), words, strict=True))
    news: dict[str, Path] = {}
    for path, content in coloured_classes(3, 21).items():
        group, file = path.split("/")
        is_new = names[group] not in news
        target = folder / "new" / f"{names[group]}.png" if is_new else folder / "known" / names[group] / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if is_new:
            news[names[group]] = target
    return folder / "known", news


def _train(page: Page, folder: Path) -> int:
    """Go from the overview to a job that has ended, waiting for the service where a person would; counts the clicks."""
    page.goto("/")
    clicks = _click(page, "a:has-text('Add a dataset')")
    with page.expect_file_chooser() as chooser:
        clicks += _click(page, "button:has-text('Choose a folder')")
    chooser.value.set_files(folder)
    page.wait_for_url(re.compile("/data/ds_"))
    clicks += _click(page, "a:has-text('Train on it')")
    clicks += _click(page, "button:has-text('Start'):enabled")
    page.wait_for_selector("h2:text('Result')")
    return clicks


def _click(page: Page, selector: str) -> int:
    page.locator(selector).wait_for()
    page.wait_for_load_state()  # nobody is as fast as to click before the scripts have run
    page.click(selector)
    return 1
