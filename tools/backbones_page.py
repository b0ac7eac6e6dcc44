"""Write docs/backbones.md from the tables that tools.backbone_coverage fills."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
import torchvision
import transformers

from models.backbones.architectures import is_torchvision
from models.backbones.timm_hub import ENCODERS
from tools.backbone_coverage import MAX_PARAMETERS, NUMBERS, STRUCTURE, TRANSFORMERS, list_architectures, read
from tools.coverage_checks import PARTS, SIDES
from tools.generated import render_table
from tools.transformers_checks import LARGEST_DIFFERENCE, PREFIX, list_networks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
Row = dict[str, str]

HEAD = """\
# Which backbones work

`make coverage-of-backbones` tries every architecture of timm {timm} and torchvision {torchvision}, and those of
transformers {transformers}, with torch {torch}, one after another, each in a process of its own, and writes this page.
What was tried is kept in [structure.csv](backbones/structure.csv), [numbers.csv](backbones/numbers.csv) and
[transformers.csv](backbones/transformers.csv), a row each; a run that was stopped goes on, and `AGAIN=1` tries again
what has failed.

- **Structure**, for every architecture at its own size, on the meta device, without weights: has the network a graph,
  are its output layers linear, at how many places can it be cut, what does an image cost. A network without a graph is
  cut before its classifier alone.
- **Numbers**, up to {most} million parameters, with random weights that are made alive (BatchNorm's statistics are
  those of random images, and no branch is multiplied by 0), at the smallest of {sides} pixels that the
  architecture takes, or at its own size: at {cuts} cuts, the top on the trunk equals the whole network to the bit in
  float32; a classifier of other weights gives W·features + b; every parameter above the lowest of these cuts gets a
  finite gradient. The features of different images differ, or the row says so: else equality would prove nothing.
- **transformers**: a small network of each image classifier, and of vision towers and networks without classifier, with
  random weights that tell images apart, is written by `save_pretrained` and read as an upload is. The outputs of the
  result equal those of transformers' own code within {difference:.0e} of the greatest, for one image and for three; the
  checks under *numbers* hold for it too. Nothing is downloaded.
"""
GOAL = 0.99
FEW = 5
"""Number of cuts below which an architecture is named."""


def render_page() -> str:
    """Render the whole page."""
    known = set(list_architectures())
    structure = [row for row in read(STRUCTURE) if row["architecture"] in known]
    numbers = [row for row in read(NUMBERS) if row["architecture"] in known]
    head = HEAD.format(
        timm=timm.__version__,
        torchvision=torchvision.__version__.partition("+")[0],
        torch=torch.__version__.partition("+")[0],
        most=MAX_PARAMETERS // 1_000_000,
        sides=", ".join(map(str, SIDES)),
        cuts=len(PARTS),
        transformers=transformers.__version__,
        difference=LARGEST_DIFFERENCE,
    )
    tables = [
        *_render_structure(structure, known),
        *_render_numbers(numbers, structure),
        *_render_transformers(read(TRANSFORMERS)),
    ]
    return "\n\n".join([head.strip(), *tables]) + "\n"


def _render_structure(rows: Sequence[Row], known: set[str]) -> Iterator[str]:
    offered = [row for row in rows if not row["architecture"].endswith(ENCODERS)]
    works = [row for row in offered if row["structure"] == "graph"]
    yield "## Structure"
    yield (
        f"{len(rows):,} of {len(known):,} architectures were tried. {len(rows) - len(offered)} of them are encoders, "
        f"which take no classifier and are not offered. Of the other {len(offered):,}, {_share(works, offered)} have a "
        f"graph through which they can be cut (goal: {GOAL:.0%})."
    )
    yield render_table(
        ("library", "tried", "graph", "before the classifier alone", "refused"),
        [(library, *_count(offered, library)) for library in ("timm", "torchvision")],
    )
    cuts = sorted(int(row["cuts"]) for row in works)
    few = [f"`{row['architecture']}` ({row['cuts']})" for row in works if int(row["cuts"]) < FEW]
    if cuts:
        yield (
            f"Half of them have {cuts[len(cuts) // 2]} places to cut or more, the most {cuts[-1]}. {len(few)} have "
            f"fewer than {FEW} below the classifier, since several values flow side by side: {', '.join(few)}."
        )
    others = [row for row in offered if row["structure"] != "graph"]
    if others:
        yield render_table(
            ("architecture", "structure", "reason"),
            [(f"`{row['architecture']}`", _word(row["structure"]), row["reason"]) for row in others],
        )


def _render_numbers(rows: Sequence[Row], structure: Sequence[Row]) -> Iterator[str]:
    small = [row for row in structure if row["parameters"] and int(row["parameters"]) <= MAX_PARAMETERS]
    equal = [row for row in rows if row["numbers"] == "equal"]
    yield "## Numbers"
    yield (
        f"{len(rows):,} of {len(small):,} architectures of at most {MAX_PARAMETERS // 1_000_000} million parameters "
        f"were tried, those with the fewest multiply-adds first; {_share(equal, rows)} pass."
    )
    failed = [row for row in rows if row["numbers"] != "equal"]
    if failed:
        yield render_table(
            ("architecture", "pixels", "reason"),
            [(f"`{row['architecture']}`", row["input_size"], row["reason"]) for row in failed],
        )


def _render_transformers(rows: Sequence[Row]) -> Iterator[str]:
    passing = [row for row in rows if row["numbers"] == "equal"]
    yield "## transformers"
    yield f"{len(rows)} of {len(list_networks())} networks were tried; {_share(passing, rows)} pass."
    head = ("network", "class", "cuts", "greatest difference", "")
    yield render_table(
        head,
        [
            (row["architecture"].removeprefix(PREFIX), row["class"], row["cuts"], row["difference"], row["reason"])
            for row in rows
        ],
    )


def _count(rows: Sequence[Row], library: str) -> tuple[str, ...]:
    own = [row for row in rows if is_torchvision(row["architecture"]) == (library == "torchvision")]
    counts = Counter(row["structure"] for row in own)
    return tuple(f"{count:,}" for count in (len(own), counts["graph"], counts["classifier"], counts["failed"]))


def _share(part: Sequence[Row], whole: Sequence[Row]) -> str:
    return f"{len(part):,} ({len(part) / len(whole):.1%})" if whole else "none"


def _word(structure: str) -> str:
    return "before the classifier alone" if structure == "classifier" else "refused"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
