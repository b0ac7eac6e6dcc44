"""Depth of a dataset: the bits that its 16-bit files use, the same for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from models.images import decode
from tests.support.images import encoded, noise, png, write_zip
from tests.support.small_pack import packed

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

PLAIN = {
    f"{name}/{number}.png": png(10 * place + number) for place, name in enumerate(("cat", "dog")) for number in range(6)
}


def grey(seed: int) -> np.ndarray:
    """Grey pixels of 8 bits, whose greatest value is 255."""
    pixels = np.asarray(noise(seed).convert("L")).astype(np.uint16)
    pixels[0, 0] = 255
    return pixels


def deep(seed: int, factor: int) -> bytes:
    """A PNG of 16-bit grey, whose values are 8-bit ones times a factor."""
    return encoded(Image.fromarray(grey(seed) * np.uint16(factor)))


def plain(seed: int) -> bytes:
    """A PNG of 8-bit grey: what `deep` shows when its depth is known."""
    return encoded(Image.fromarray(grey(seed).astype(np.uint8)))


def pack_files(folder: Path, files: dict[str, bytes]) -> Pack:
    """Validate an archive of these files, and open its pack."""
    folder.mkdir(exist_ok=True)
    return packed(write_zip(folder / "a.zip", files))


def list_digests(pack: Pack) -> dict[str, bytes]:
    """The digests of 8-bit pixels by name."""
    return dict(zip(pack.names, pack.digests.tolist(), strict=True))


@pytest.mark.parametrize(("factor", "depth"), [(1, 8), (4, 10), (16, 12), (64, 14), (256, 16)])
def test_the_depth_of_a_dataset_holds_its_greatest_value(tmp_path: Path, factor: int, depth: int) -> None:
    pack = pack_files(tmp_path, PLAIN | {f"cat/{seed}.png": deep(seed, factor) for seed in range(100, 104)})
    assert pack.decoding.depth == depth
    for place, name in enumerate(pack.names):
        image = decode.decode(pack.read_file(place), pack.decoding)
        shown = PLAIN[name] if name in PLAIN else plain(int(name.removeprefix("cat/").removesuffix(".png")))
        assert pack.digests[place].tobytes() == decode.compute_digest(image) == decode.check(shown).digest


def test_the_same_image_with_fewer_bits_is_a_copy(tmp_path: Path) -> None:
    pack = pack_files(tmp_path, PLAIN | {"cat/deep.png": deep(100, 16), "cat/plain.png": plain(100)})
    assert len(pack) == len(PLAIN) + 1


def test_one_deeper_image_changes_what_deep_images_show_but_not_their_splits(tmp_path: Path) -> None:
    files = PLAIN | {f"cat/{seed}.png": deep(seed, 16) for seed in range(100, 110)}
    first = pack_files(tmp_path / "first", files)
    second = pack_files(tmp_path / "second", files | {"dog/deepest.png": deep(300, 256)})
    assert (first.decoding.depth, second.decoding.depth) == (12, 16)
    before, after = list_digests(first), list_digests(second)
    assert {name for name in files if before[name] == after[name]} == PLAIN.keys()
    assert set(first.lossless_digests) < set(second.lossless_digests)


def test_one_more_image_of_the_same_depth_changes_no_digest(tmp_path: Path) -> None:
    files = PLAIN | {f"cat/{seed}.png": deep(seed, 16) for seed in range(100, 104)}
    first = list_digests(pack_files(tmp_path / "first", files))
    second = list_digests(pack_files(tmp_path / "second", files | {"dog/more.png": deep(300, 8)}))
    assert first.items() < second.items()


def test_only_labelled_deep_images_count(tmp_path: Path) -> None:
    files = PLAIN | {f"cat/{seed}.png": deep(seed, 16) for seed in range(100, 104)}
    assert pack_files(tmp_path / "stray", files | {"stray.png": deep(300, 256)}).decoding.depth == 12
    assert pack_files(tmp_path / "plain", PLAIN).decoding.depth is None
