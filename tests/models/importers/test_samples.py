"""Samples are read from zips and folders, and their folders' names matched with the network's classes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from models.importers.errors import ImportRejected
from models.importers.samples import MAX_IMAGES, Sample, match_classes, read_samples
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.archives import zip_of

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = Image.new("RGB", (16, 16), (200, 10, 10))


def png() -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, "png")
    return file.getvalue()


def named(*names: str) -> list[Sample]:
    return [Sample(name, IMAGE) for name in names]


def test_images_in_folders_are_read(tmp_path: Path) -> None:
    path = tmp_path / "samples.zip"
    path.write_bytes(
        zip_of(("s/cat/1.png", png()), ("s/dog/1.png", png()), ("s/dog/2.png", b"broken"), ("s/README.md", b"text"))
    )
    found = read_samples(path, no_heartbeat)
    assert sorted(sample.name for sample in found) == ["cat", "dog"]
    assert {sample.image.size for sample in found} == {(16, 16)}
    folder = tmp_path / "samples"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(png())
    assert [sample.name for sample in read_samples(folder, no_heartbeat)] == ["cat"]


def test_many_samples_are_thinned_evenly(tmp_path: Path) -> None:
    path, data = tmp_path / "samples.zip", png()
    path.write_bytes(zip_of(*((f"{name}/{number}.png", data) for name in "ab" for number in range(150))))
    found = read_samples(path, no_heartbeat)
    assert len(found) == MAX_IMAGES
    assert sum(sample.name == "a" for sample in found) == MAX_IMAGES / 2


@pytest.mark.parametrize("entries", [[("1.png", b"x")], [("cat/notes.txt", b"x")]])
def test_samples_without_folders_or_images_are_rejected(entries: list[tuple[str, bytes]], tmp_path: Path) -> None:
    path = tmp_path / "samples.zip"
    path.write_bytes(zip_of(*entries))
    with pytest.raises(ImportRejected, match="a folder for each class") as caught:
        read_samples(path, no_heartbeat)
    assert caught.value.code == "samples_unusable"


def test_folders_are_matched_by_label_synonym_and_index() -> None:
    labels = ["tench, Tinca tinca", "goldfish", "Great White_Shark"]
    found = match_classes(named("Tinca tinca", "Goldfish", "great-white shark", "2", "cat"), labels, 3)
    assert found == {"Tinca tinca": 0, "Goldfish": 1, "great-white shark": 2, "2": 2}


def test_labels_that_are_numbers_count_before_indices() -> None:
    assert match_classes(named("3", "5"), ["5", "4", "3"], 3) == {"3": 2, "5": 0}


def test_folders_are_matched_by_wordnet_ids() -> None:
    assert match_classes(named("n01440764", "n01443537"), None, 1000) == {"n01440764": 0, "n01443537": 1}
    with_background = ["background", "tench", *(f"class {number}" for number in range(999))]
    assert match_classes(named("n01440764", "tench"), with_background, 1001) == {"n01440764": 1, "tench": 1}
    assert match_classes(named("n01440764"), None, 10) == {}


def test_the_thousand_classes_of_another_dataset_have_no_wordnet_ids() -> None:
    labels = [f"plant {number}" for number in range(1000)]
    assert match_classes(named("n01440764", "plant 7"), labels, 1000) == {"plant 7": 7}
