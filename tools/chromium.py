"""The Chromium of this machine, for screenshots, benchmarks and tests of the page."""

from __future__ import annotations

import shutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Find a Chromium of this machine."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
