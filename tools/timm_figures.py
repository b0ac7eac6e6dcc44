"""Write what is published of timm's pretrained networks to models/backbones: `python -m tools.timm_figures RESULTS`.

RESULTS is the folder `results` of github:huggingface/pytorch-image-models (of 2026-08-08), which timm's package lacks.
Accuracy is top-1 on ImageNet-1k's validation images at the network's own size. Multiply-adds are Graft's own count
where docs/backbones/structure.csv has that size, else timm's, which it rounds to 0.01 billion.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from models.backbones import timm_hub
from tools.backbone_coverage import STRUCTURE, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.backbones.backbone import BackboneSummary

TABLE = Path(__file__).parents[1] / "models" / "backbones" / "timm_figures.csv"
ACCURACY = "results-imagenet.csv"
COSTS = "benchmark-infer-amp-nchw-pt*.csv"

Costs = dict[tuple[str, str], int]


def read_accuracies(results: Path) -> dict[tuple[str, str], float]:
    """Read the accuracy, from 0 to 1, by the network's name with its tag, and the side of the images."""
    return {(row["model"], row["img_size"]): round(float(row["top1"]) / 100, 5) for row in read(results / ACCURACY)}


def read_costs(results: Path) -> Costs:
    """Read multiply-adds by architecture and side of the images; later files are of later versions of timm."""
    found: Costs = {}
    for file in sorted(results.glob(COSTS)):
        for row in read(file):
            multiply_adds = round(float(row["infer_gmacs"] or 0) * 1e9)
            if multiply_adds:
                found[row["model"].partition(".")[0], row["infer_img_size"]] = multiply_adds
    own = [row for row in read(STRUCTURE) if row["multiply_adds"]]
    found.update({(row["architecture"], row["input_size"].partition("x")[0]): int(row["multiply_adds"]) for row in own})
    return found


def describe(summary: BackboneSummary, accuracies: dict[tuple[str, str], float], costs: Costs) -> tuple[str, ...]:
    """Describe a backbone by its name, accuracy and multiply-adds; empty where they are not known."""
    assert summary.input_size is not None
    assert summary.architecture is not None
    name, side = summary.name.removeprefix("timm/"), str(summary.input_size[1])
    return name, str(accuracies.get((name, side), "")), str(costs.get((summary.architecture, side), ""))


def list_rows(results: Path) -> Iterator[tuple[str, ...]]:
    """List the rows of all of timm's backbones of which something is known."""
    accuracies, costs = read_accuracies(results), read_costs(results)
    rows = (describe(summary, accuracies, costs) for summary in timm_hub.list_backbones())
    return (row for row in rows if any(row[1:]))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    with TABLE.open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("name", "accuracy", "multiply_adds"))
        writer.writerows(list_rows(parser.parse_args().results))


if __name__ == "__main__":
    main()
