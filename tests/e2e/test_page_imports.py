"""A network is imported in a browser: what its file does not say is asked for, and large ones go in pieces."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support import browser as browsers
from tests.support import deployments
from tests.support.images import coloured_classes, write_zip
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory, backbones: Path) -> Iterator[str]:
    """The address of a running service; the browser comes first, so that nothing starts where there is none."""
    with deployments.embedded(tmp_path_factory.mktemp("imports"), backbones) as address:
        yield address


def test_what_a_file_does_not_say_is_asked_for_and_answered(page: Page, address: str, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "net")  # whose configuration is not sent
    page.goto("/backbones")
    page.click("a:has-text('Import a network')")
    assert page.is_disabled("#import-start")
    page.set_input_files("#import-file", folder / "model.safetensors")
    page.fill("#name", "Mine")
    page.fill("#architecture", json.loads((folder / "config.json").read_text())["architecture"])
    page.click("#import-start")
    page.wait_for_url(re.compile("/backbones/bb_"))
    page.wait_for_selector("h2:text('Something is missing')")
    assert browsers.find_violations(page) == []
    page.select_option("#prepared", "own")
    page.fill("#mean", "0.5, 0.5")
    page.click("text=Go on with these")
    page.wait_for_selector("#import-error:has-text('three numbers')")
    page.fill("#mean", "0.5, 0.5, 0.5")
    page.fill("#std", "0.25 0.25 0.25")
    page.fill("#side", "32")
    page.click("summary:has-text('Interpolation')")
    page.select_option("#interpolation", "bilinear")
    page.select_option("#channel_order", "rgb")
    page.click("text=Go on with these")
    page.wait_for_selector("h2:text('Report of the import')")
    page.wait_for_selector("a:has-text('Train on it')")
    assert browsers.find_violations(page) == []
    with Client(address) as client:
        made = client.backbone(page.url.rsplit("/", 1)[1])
    assert (made["name"], made["status"]) == ("Mine", "ready")
    used = made["import_report"]["preprocessing"]["used"]
    assert (used["mean"], used["std"]) == ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    assert (used["input_size"], used["interpolation"]) == ([3, 32, 32], "bilinear")


def test_a_large_folder_is_sent_in_pieces(page: Page, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "net")
    (folder / "notes.bin").write_bytes(random.Random(0).randbytes(33 << 20))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url.partition('/v1/')[2][:9]}"))
    page.goto("/backbones/import")
    page.set_input_files("#import-folder", folder)
    page.click("#import-start")
    page.wait_for_url(re.compile("/backbones/bb_"))
    page.wait_for_selector("h1:text('net')")
    page.wait_for_selector(".badge:has-text('Ready')")
    assert sent.count("PATCH uploads/u") == 3
    assert sent.count("POST backbones") == 1


def test_samples_go_with_the_file(page: Page, address: str, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "net")
    samples = write_zip(tmp_path / "samples.zip", coloured_classes(3, 4))
    page.goto("/backbones/import")
    page.set_input_files("#import-file", folder / "model.safetensors")
    page.fill("#architecture", json.loads((folder / "config.json").read_text())["architecture"])
    page.select_option("#prepared", "from_samples")
    page.click("#import-start")
    page.wait_for_selector("#import-error:has-text('known classes')")
    page.set_input_files("#samples", samples)
    page.click("#import-start")
    page.wait_for_url(re.compile("/backbones/bb_"))
    with Client(address) as client:
        made = client.wait_for_backbone(page.url.rsplit("/", 1)[1])
    assert made["options"]["preprocessing"] == "from_samples"
    assert made["import_report"]["samples"]["images"] == 12, made["error"]


def test_a_file_that_is_no_network_is_refused_with_advice(page: Page, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_text("<!doctype html>")
    page.goto("/backbones/import")
    page.set_input_files("#import-file", tmp_path / "net.pth")
    page.click("#import-start")
    page.wait_for_selector("#import-error:has-text('web page')")
    assert page.is_enabled("#import-start")
