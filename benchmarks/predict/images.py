"""Images for benchmarks of predictions: those of a dataset, and changed ones that nothing has seen."""

from __future__ import annotations

import io
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from PIL import Image

from models.datasets.pack import Pack
from service.storage import Storage
from service.tables import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

TIMES = 40
"""Images that each figure is a median of."""


def read_images(database: Database, settings: Settings, dataset: str, folder: Path) -> list[bytes]:
    """Read the first images of a dataset."""
    with database.reading() as session:
        row = session.get_one(Dataset, dataset)
    storage = Storage(settings.storage)
    assert row.pack is not None
    assert row.index is not None
    pack = Pack(*(storage.local_path(key, folder) for key in (row.pack, row.index)))
    return [pack.read_file(place) for place in range(min(len(pack), TIMES))]


def make_fresh(sources: list[bytes], count: int) -> list[bytes]:
    """Make images that nothing has seen: those of the dataset, with one pixel changed."""
    made = []
    for number in range(count):
        with Image.open(io.BytesIO(sources[number % len(sources)])) as opened:
            image = opened.convert("RGB")
        image.putpixel((0, 0), tuple(os.urandom(3)))
        file = io.BytesIO()
        image.save(file, "JPEG" if sources[0].startswith(b"\xff\xd8") else "PNG", quality=92)
        made.append(file.getvalue())
    return made


def take_median(act: Callable[[Any], object], inputs: list[Any]) -> float:
    """Measure the median of the seconds that an act takes, over its inputs."""
    times = []
    for each in inputs:
        began = time.perf_counter()
        act(each)
        times.append(time.perf_counter() - began)
    return statistics.median(times)
