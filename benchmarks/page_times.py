"""Server times of the page, `make page-times`: each view beside 100,000 images, 1,000 jobs and all backbones.

A real job is run first; its row is then copied, and the index of a dataset of 100,000 images is written beside its own.
Times are those of requests over one connection, from the first byte sent to the last received.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.machine import describe
from benchmarks.material import BACKBONES, scratch
from demo.standalone import standalone
from graft.client import Client
from models.datasets import pack
from service.database import Database
from service.datasets import repository
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset, Job, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES, CLASSES, JOBS, REQUESTS = 100_000, 10, 1_000, 15
BACKBONE = "local/rendered_shapes"
LISTED = 1_700
"""Backbones that a worker lists at least."""
HEADERS = {"Accept": "text/html"}


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    argparse.ArgumentParser(prog="make page-times", description=__doc__).parse_args()
    with scratch(None) as (folder, digits):
        data = folder / "data"
        with standalone(data, BACKBONES) as address, Client(address) as client:
            ready = client.wait_for_dataset(client.create_dataset(digits)["id"])["id"]
            job = client.wait(client.create_job(ready, BACKBONE, publish="measured")["id"])["id"]
        dataset = fill(Settings(data=data), ready, job)
        print(f"{describe()}.\n")
        print("| view | first, ms | median, ms | slowest, ms | kB |\n|---|---|---|---|---|")
        with standalone(data, BACKBONES) as address:
            wait_for_backbones(address)
            for path in list_views(dataset, job):
                times, size = measure(address, path)
                shown = path.replace(dataset, "ds_…").replace(job, "job_…")
                milliseconds = (times[0], statistics.median(times[1:]), max(times[1:]))
                print(f"| `{shown}` | {' | '.join(f'{1000 * one:.0f}' for one in milliseconds)} | {size / 1000:.0f} |")


def fill(settings: Settings, ready: str, job: str) -> str:
    """Add a dataset of IMAGES images, and copies of a job on it; gives the dataset's id."""
    database, storage = Database(settings.database), Storage(settings.storage)
    with database.writing() as session:
        small = session.get_one(Dataset, ready)
        row = Dataset(id=new_id("ds"), name="Large", status="validating", attempt=1, crashes=0, images=0, classes=[])
        session.add(row)
        names = [entry["name"] for entry in small.classes]
        repository.accept(
            session,
            row,
            pack=str(small.pack),
            index=f"datasets/{row.id}/index.1",
            skipped=str(small.skipped),
            task="single_label",
            classes=[{"name": name, "count": IMAGES // CLASSES} for name in names],
            images=IMAGES,
            digest="0" * 64,
            report={**(small.report or {}), "files": IMAGES, "accepted": IMAGES},
        )
        with storage.writing(f"datasets/{row.id}/index.1") as file:
            pack.write_index(file, list(list_entries()))
        done = session.get_one(Job, job)
        columns = {name: getattr(done, name) for name in Job.__mapper__.columns.keys()}  # noqa: SIM118
        for number in range(JOBS):
            session.add(Job(**{**columns, "id": new_id("job"), "dataset_id": row.id, "name": f"Job {number}"}))
        dataset = row.id
    database.close()
    return dataset


def list_entries() -> Iterator[pack.Entry]:
    """List the entries of an index; each image is the first one's file."""
    for number in range(IMAGES):
        digest = number.to_bytes(32, "big")
        yield pack.Entry(digest, 0, 300, 640, 480, (number % CLASSES,), "", f"class-{number % CLASSES}/{number}.jpg")


def list_views(dataset: str, job: str) -> list[str]:
    """List the addresses of the views, and of the parts that are loaded later."""
    costs = f"/train/costs?dataset={dataset}&backbone={BACKBONE}"
    data = [f"/data/{dataset}", f"/data/{dataset}/images?label=3", f"/data/{dataset}/images?split=train"]
    jobs = ["/jobs", f"/jobs/{job}", f"/jobs/{job}/state", f"/jobs/{job}/images?order=doubtful"]
    other = ["/try", "/models", "/backbones", f"/backbones/{BACKBONE}", "/cache", "/workers", "/keys"]
    return ["/", "/data", *data, "/train", "/train/backbones?q=resnet", costs, *jobs, "/predictions", *other]


def wait_for_backbones(address: str) -> None:
    """Wait until a worker has listed its backbones."""
    with Client(address) as client:
        while sum(1 for _ in client.backbones()) < LISTED:
            time.sleep(2)


def measure(address: str, path: str) -> tuple[list[float], int]:
    """Request a view several times; gives the seconds of each, and the bytes of an answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    times, size = [], 0
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", path, headers=HEADERS)
        answer = connection.getresponse()
        size = len(answer.read())
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            raise SystemExit(f"{path} answers {answer.status}")
    connection.close()
    return times, size


if __name__ == "__main__":
    main()
