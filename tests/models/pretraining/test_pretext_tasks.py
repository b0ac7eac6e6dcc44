"""The views and labels of tasks that come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from models.images.decode import decode
from models.images.preprocessing import Preprocessing
from models.images.views import Views
from models.pretraining.pretext_tasks import OtherLabelsTask, QuarterTurns, RotationTask
from tests.support.images import noise
from tests.support.oriented_images import oriented_pack, prepared, shallow
from tests.support.small_pack import PREPROCESSING

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

RANDOM = np.random.default_rng(0)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """12 images."""
    return oriented_pack(tmp_path, 6)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_square_is_turned_pixel_by_pixel(turns: int) -> None:
    image = noise(1, 20, 20)
    turned = np.asarray(QuarterTurns(turns=turns).apply(image, RANDOM))
    assert np.array_equal(turned, np.rot90(np.asarray(image), turns))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_of_other_images_the_middle_is_turned_and_stretched_back(turns: int) -> None:
    image = noise(1, 24, 16)
    turned = QuarterTurns(turns=turns).apply(image, RANDOM)
    middle = Image.fromarray(np.rot90(np.asarray(image)[:, 4:20], turns))
    assert turned.size == (24, 16)
    assert np.array_equal(np.asarray(turned), np.asarray(middle.resize((24, 16), Image.Resampling.BILINEAR)))


def test_a_view_has_the_size_of_the_networks_input() -> None:
    wide = Preprocessing((3, 16, 24), "bilinear", (0.5,) * 3, (0.25,) * 3, 1.0, "center")
    views = Views(wide, (QuarterTurns(turns=1),))
    assert views.render(noise(2, 50, 40), bytes(32), 1).shape == (3, 16, 24)


def test_the_policies_of_the_turns_differ() -> None:
    """The cache tells them apart."""
    assert len({Views(PREPROCESSING, (QuarterTurns(turns=turns),)).policy for turns in range(4)}) == 4


def test_a_batch_holds_each_image_in_its_four_turns(pack: Pack, tmp_path: Path) -> None:
    _, _, material = prepared(pack, tmp_path / "cache", shallow())
    task = RotationTask(material)
    assert len(task) == 12
    (given, labels), (second, _) = task.batches(torch.tensor([7, 2, 5]), 1, 8)
    assert labels.tolist() == [0, 1, 2, 3] * 2
    assert len(second) == 4
    plain = np.asarray(decode(pack.read_file(7), pack.decoding))
    for turns in range(4):
        pixels = torch.from_numpy(np.rot90(plain, turns).copy()).permute(2, 0, 1).float() / 255
        grid = torch.nn.functional.adaptive_avg_pool2d((pixels - 0.5) / 0.25, 4).flatten()
        torch.testing.assert_close(given[turns], grid, atol=2e-3, rtol=1e-2)


def test_turns_are_computed_once_and_the_plain_view_is_shared(pack: Pack, tmp_path: Path) -> None:
    _, _, material = prepared(pack, tmp_path / "cache", shallow())
    counts = []
    for _ in range(2):
        task = RotationTask(material)
        list(task.batches(torch.arange(12), 1, 16))
        counts.append([source.counts.misses for source in task._sources])
    assert counts == [[0, 12, 12, 12], [0, 0, 0, 0]], "the standardization has read the plain views"


def test_labels_go_with_their_images_and_views_take_turns(pack: Pack, tmp_path: Path) -> None:
    run, _, material = prepared(pack, tmp_path / "cache", shallow())
    task = OtherLabelsTask(material, run.recipe)
    places = torch.randperm(12)
    plain, augmented, again = (list(task.batches(places, epoch, 5)) for epoch in (1, 2, 4))
    assert torch.equal(torch.cat([labels for _, labels in plain]), torch.from_numpy(pack.labels)[places])
    assert [len(labels) for _, labels in plain] == [5, 5, 2]
    assert not torch.equal(plain[0][0], augmented[0][0])
    assert torch.equal(plain[0][0], again[0][0])
