"""The rules of decoding: a checkpoint's metadata says how its images are opened, whatever release made it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from graft.images import Decoding, open_image
from tests.support.image_files import bmp, tiff
from tests.support.images import encoded, noise

if TYPE_CHECKING:
    from pathlib import Path

METADATA = {"decoding": '{"version": 2, "upright": true, "background": "white", "depth": 12}'}


def test_a_file_is_opened_from_a_path_a_binary_file_or_bytes(tmp_path: Path) -> None:
    data = encoded(noise(1))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for file in (path, str(path), io.BytesIO(data), data):
        np.testing.assert_array_equal(np.asarray(open_image(file, METADATA)), np.asarray(noise(1)))
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "absent.png", METADATA)


def test_the_metadata_says_how_values_become_8_bits() -> None:
    values = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    data = encoded(Image.fromarray(values))
    np.testing.assert_array_equal(np.asarray(open_image(data, METADATA))[..., 0], values >> 4)
    whole = {"decoding": json.dumps(Decoding(depth=16).to_dict())}
    np.testing.assert_array_equal(np.asarray(open_image(data, whole))[..., 0], values >> 8)
    no_deep_files = {"decoding": json.dumps(Decoding().to_dict())}
    np.testing.assert_array_equal(np.asarray(open_image(data, no_deep_files))[..., 0], values >> 8)


def test_a_checkpoint_without_the_key_is_opened_by_version_1() -> None:
    deep = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    found = np.asarray(open_image(encoded(Image.fromarray(deep)), {}))
    np.testing.assert_array_equal(found[..., 0], np.round(deep / 257))
    pixels = np.dstack([np.asarray(noise(11)), np.zeros((20, 24), np.uint8)]).tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    assert (np.asarray(open_image(bmp(pixels, (24, 20), 32, masks, header=108), {})) == 255).all(), "empty alpha"
    jpeg = encoded(noise(3, 64, 64), "JPEG")
    assert open_image(jpeg[:-500] + b"\xff\xd9", {}).size == (64, 64)


def test_rules_of_a_newer_release_are_refused() -> None:
    with pytest.raises(ValueError, match="version 3"):
        open_image(encoded(noise(1)), {"decoding": '{"version": 3}'})


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_version_1_turns_deep_tiffs_upright_once(orientation: int) -> None:
    deep = np.arange(0, 65536, 256, dtype=np.uint16).reshape(8, 32, 1)
    found = np.asarray(open_image(tiff(deep, {274: [orientation]}), {}))
    upright = np.rot90(deep[..., 0], {1: 0, 3: 2, 6: -1}[orientation])
    np.testing.assert_array_equal(found[..., 0], np.round(upright / 257))
