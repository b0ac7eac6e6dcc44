"""Uploads of images by a command: with a bar, until they are validated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.progress import show_upload
from graft.terminal import INTERRUPTED, UNSUCCESSFUL, fail, say

if TYPE_CHECKING:
    from rich.console import Console

    from graft.client import Client
    from graft.results.datasets import Dataset
    from graft.upload_source import UploadSource


def upload_dataset(client: Client, images: UploadSource, where: Console, labels: str = "auto") -> Dataset:
    """Upload images and wait until they are validated; ends the command where they cannot be used."""
    try:
        with show_upload(images, where) as sent:
            created = client.create_dataset(images, labels=labels, sent=sent)
    except KeyboardInterrupt:
        fail("The upload was cut off. The same command continues it, or sends it again if it is small.", INTERRUPTED)
    say(f"Dataset {created.id}", where)
    try:
        dataset = client.wait_for_dataset(created.id)
    except KeyboardInterrupt:
        message = (
            f"Nothing was started. The dataset is kept: the same command goes on with {created.id} for the images."
        )
        fail(message, INTERRUPTED)
    if dataset.status == "failed":
        fail(dataset["error"]["message"], UNSUCCESSFUL)
    return dataset
