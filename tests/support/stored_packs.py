"""A pack of twelve files in the storage, as validation writes packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.datasets import pack
from service.storage import Storage

if TYPE_CHECKING:
    from service.settings import Settings

CONTENT = b"no image"
COUNT = 12
SPLITS = ("train", "validation", "test", "")


def write_pack(settings: Settings, folder: str) -> None:
    """Write the pack and its index: classes 0 and 1 in turns, and splits in turns."""
    entries = [
        pack.Entry(
            bytes([number]) * 32,
            number * len(CONTENT),
            len(CONTENT),
            10 + number,
            20,
            (number % 2,),
            SPLITS[number % 4],
            f"a/ü {number}.png",
        )
        for number in range(COUNT)
    ]
    storage = Storage(settings.storage)
    with storage.writing(f"datasets/{folder}/pack.1") as file:
        file.write(CONTENT * COUNT)
    with storage.writing(f"datasets/{folder}/index.1") as file:
        pack.write_index(file, entries)
