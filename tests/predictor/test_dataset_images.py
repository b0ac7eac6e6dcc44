"""Images of datasets are found by their digests, as long as the dataset is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from predictor import dataset_images
from predictor.dataset_images import DatasetImages, PackUnreadable
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset
from workers.scratch import remove_orphans

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from tests.support.predicting import Trained


@pytest.fixture
def images(trained: Trained, stored: Database) -> DatasetImages:
    """Images of datasets whose packs lie in the folder of the trainings."""
    return DatasetImages(stored, trained.settings.model_copy(update={"storage_url": str(trained.folder)}))


def add(database: Database, dataset: str, pack: str | None = "small.pack") -> None:
    with database.writing() as session:
        session.add(Dataset(id=dataset, name="small", status="ready", attempt=0, pack=pack, index="small.index"))


def test_a_deleted_dataset_has_no_images(trained: Trained, stored: Database, images: DatasetImages) -> None:
    assert images.open("ds_gone") is None
    add(stored, "ds_gone")
    pack, digest = images.open("ds_gone"), trained.pack.digests[3].tobytes().hex()
    assert pack is not None
    assert pack.read(digest) == trained.pack.read_file(3)
    assert pack.read("0" * 64) is None
    with stored.writing() as session:
        session.delete(session.get_one(Dataset, "ds_gone"))
    assert images.open("ds_gone") is None


def test_a_pack_that_is_missing_in_the_storage_is_said(stored: Database, images: DatasetImages) -> None:
    add(stored, "ds_lost", "other.pack")
    with pytest.raises(PackUnreadable):
        images.open("ds_lost")


def test_few_packs_stay_open(stored: Database, images: DatasetImages) -> None:
    for number in range(dataset_images.MOST_OPEN + 2):
        add(stored, f"ds_many{number}")
        assert images.open(f"ds_many{number}") is not None
    assert len(images._open) == dataset_images.MOST_OPEN
    assert len(list(images._scratch.iterdir())) == dataset_images.MOST_OPEN
    images.close()
    assert list(images._scratch.iterdir()) == []


def test_a_pack_that_was_fetched_is_there_until_it_is_closed(
    trained: Trained, stored: Database, tmp_path: Path
) -> None:
    fetched = Storage(f"memory://{tmp_path.name}")
    for key in ("small.pack", "small.index"):
        with fetched.writing(key) as file:
            file.write((trained.folder / key).read_bytes())
    settings = Settings(data=tmp_path, storage_url=f"memory://{tmp_path.name}")
    images = DatasetImages(stored, settings)
    add(stored, "ds_fetched")
    assert images.open("ds_fetched") is not None
    (folder,) = settings.scratch.iterdir()
    remove_orphans(stored, settings.scratch)
    assert {path.name for path in (folder / "content").iterdir()} == {"small.pack", "small.index"}
    images.close()
    assert list(settings.scratch.iterdir()) == []
