"""Recommended backbone against the best one: `GRAFT_MATERIAL=folder make recommend`.

Each dataset of the material is given to every backbone of it, by a real job of the empty recipe. What is lost is how
much the test accuracy of the recommended one lies below the best, in points. Without material, scikit-learn's digits
and the backbones of the demo are taken.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.accuracy import finish
from benchmarks.floor import pack_dataset
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, scratch
from models.catalog.recipe import Recipe
from models.messages import Finished
from models.pipeline.candidate import measure_backbone
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec
from models.runtime.supervisor_callbacks import Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.datasets.pack import Pack

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
HEADER = """\
| dataset | backbone | expected | test accuracy | seconds expected | seconds |
|---|---|---|---|---|---|"""


class Result(NamedTuple):
    """A backbone on a dataset: what was expected, and what a job gave."""

    backbone: str
    expected: float
    expected_loss: float
    accuracy: float
    expected_seconds: float
    seconds: float


def main() -> None:
    """Run the benchmark and print its table in Markdown."""
    material = os.environ.get("GRAFT_MATERIAL")
    backbones = Path(material) / "weights" if material else BACKBONES
    names = sorted(path.parent.name for path in backbones.glob("*/config.json"))
    print(describe(), HEADER, sep="\n")
    lost = []
    for dataset in list_datasets(Path(material)) if material else [None]:
        with scratch(dataset) as (folder, archive):
            pack, classes = pack_dataset(folder, archive)
            results = [measure(folder, pack, classes, backbones, f"local/{name}") for name in names]
        for result in results:
            figures = f"{result.expected:.1%} | {result.accuracy:.1%} | {result.expected_seconds:.0f}"
            print(f"| {archive.name} | {result.backbone} | {figures} | {result.seconds:.0f} |", flush=True)
        lost.append(compute_loss(results))
    print(
        f"Lost by taking the recommended one: {statistics.mean(lost):.2f} points in the mean, {max(lost):.2f} at most."
    )


def list_datasets(material: Path) -> Iterator[Path]:
    """List the archives of datasets in a folder."""
    yield from (path for path in sorted(material.glob("datasets/*/*")) if path.name.endswith(ENDINGS))


def measure(folder: Path, pack: Pack, classes: list[str], backbones: Path, name: str) -> Result:
    """Measure a backbone, and fine-tune it."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch_folder:
        spec = TrainingSpec(
            job="job_benchmark",
            storage=folder.as_uri(),
            dataset=DatasetSpec(pack="", index="", classes=classes, digest="0" * 64),
            backbone=BackboneSpec(name=name),
            local_backbones=backbones,
            recipe=Recipe(),
            device="auto",
            cache=folder / "cache",
            cache_bytes=20 << 30,
            checkpoint=Path(scratch_folder) / "best.safetensors",
        )
        _, figures = finish(measure_backbone(spec, pack, Context()))
        *_, ended = fine_tune(spec, pack)
    assert isinstance(ended, Finished)
    return Result(name, figures.value, figures.loss, ended.metrics["test"]["accuracy"], figures.seconds, ended.elapsed)


def compute_loss(results: Sequence[Result]) -> float:
    """Compute by how many points the test accuracy of the best expectation lies below the best test accuracy."""
    recommended = max(results, key=lambda result: (result.expected, -result.expected_loss))
    return 100 * (max(result.accuracy for result in results) - recommended.accuracy)


if __name__ == "__main__":
    main()
