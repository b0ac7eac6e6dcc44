"""A headless Chromium of this machine, and what must hold of every view in it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.chromium import find_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

AXE = Path(__file__).with_name("axe") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FORMS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
MILLISECONDS = 90_000
"""Time for what a page waits for: a job may come first."""
PLAIN_ERRORS = ("the server responded with a status of 4", "Response Status Error Code 4")
"""What the browser and htmx say in the console of answers such as 404 and 422, which a view may ask for."""


@contextmanager
def running() -> Iterator[Browser]:
    """Run the browser, with a camera that shows a test image; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, form: str = "light") -> Iterator[Page]:
    """Open a page, in which no script may fail, and nothing be refused by the policy."""
    context = browser.new_context(base_url=address, permissions=["camera"], **FORMS[form])
    page = context.new_page()
    page.set_default_timeout(MILLISECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if not any(plain in error for plain in PLAIN_ERRORS)] == []


def find_violations(page: Page) -> list[str]:
    """Find what axe has against a view: rule, and the first elements."""
    page.evaluate(_read_axe())
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    return [f"{rule['id']}: {[node['html'][:200] for node in rule['nodes'][:3]]}" for rule in found["violations"]]


@cache
def _read_axe() -> str:
    return AXE.read_text()
