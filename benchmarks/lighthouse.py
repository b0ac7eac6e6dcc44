"""Lighthouse on views of the page, `make page-lighthouse`: accessibility and performance, the median of several runs.

Needs npx (it comes with Node.js), which fetches Lighthouse once, and a Chromium; without them it says so and ends. Each
run opens a view as Lighthouse does by default: a phone, a slow connection and a processor a quarter as fast.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.client import Client
from tools.chromium import find_chromium

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

LIGHTHOUSE = "lighthouse@13.5.0"
CATEGORIES = ("accessibility", "performance", "best-practices")
FIGURES = {
    "first-contentful-paint": "first paint",
    "largest-contentful-paint": "largest paint",
    "total-blocking-time": "blocked",
}
FLAGS = "--headless=new --no-sandbox --disable-gpu"


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    parser = build_parser("make page-lighthouse", __doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--views", nargs="*", help="some of: home dataset train job try")
    chosen = parser.parse_args()
    npx, browser = shutil.which("npx"), find_chromium()
    if npx is None or browser is None:
        print(f"skipped: there is no {'npx' if npx is None else 'Chromium'} on this machine")
        return
    with scratch(chosen.dataset) as (folder, dataset), standalone(folder / "data", BACKBONES) as address:
        views = prepare(address, dataset, chosen)
        print(f"{describe()}.\n")
        titles = (*CATEGORIES, *(f"{name}, ms" for name in FIGURES.values()))
        print(f"| view | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
        for name, path in views.items():
            reports = [inspect(npx, browser, f"{address}{path}", folder) for _ in range(chosen.runs)]
            print(f"| {name} | {' | '.join(summarize(reports))} |", flush=True)
            for problem in find_problems(reports):
                print(f"|   {problem} |", flush=True)


def prepare(address: str, dataset: Path, chosen: argparse.Namespace) -> dict[str, str]:
    """Train a model to look at; gives the paths of the views by name."""
    with Client(address) as client:
        ready = client.wait_for_dataset(client.create_dataset(dataset)["id"])["id"]
        job = client.wait(client.create_job(ready, chosen.backbone, name="Measured", publish="measured")["id"])["id"]
    views = {"home": "/", "dataset": f"/data/{ready}", "train": "/train", "job": f"/jobs/{job}", "try": "/try"}
    return {name: path for name, path in views.items() if not chosen.views or name in chosen.views}


def inspect(npx: str, browser: str, url: str, folder: Path) -> dict[str, Any]:
    """Run Lighthouse once; gives its report."""
    output = folder / "lighthouse.json"
    command = [npx, "--yes", "--loglevel=error", LIGHTHOUSE, url, "--quiet", "--output=json", f"--output-path={output}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={FLAGS}"]
    subprocess.run(command, env={**os.environ, "CHROME_PATH": browser}, check=True, stdout=subprocess.DEVNULL)
    report: dict[str, Any] = json.loads(output.read_text())
    return report


def summarize(reports: Sequence[dict[str, Any]]) -> list[str]:
    """Compute the median of each score, from 0 to 100, and of each time."""
    scores = [statistics.median(100 * one["categories"][name]["score"] for one in reports) for name in CATEGORIES]
    times = [statistics.median(one["audits"][name]["numericValue"] for one in reports) for name in FIGURES]
    return [f"{value:,.0f}" for value in (*scores, *times)]


def find_problems(reports: Sequence[dict[str, Any]]) -> list[str]:
    """Find what Lighthouse has against accessibility and good practice, in any run."""
    audits = {
        reference["id"]
        for name in ("accessibility", "best-practices")
        for reference in reports[0]["categories"][name]["auditRefs"]
    }
    found = [one["audits"][audit] for one in reports for audit in sorted(audits) if one["audits"][audit]["score"] == 0]
    return sorted({f"{audit['id']}: {audit['title']}" for audit in found})


if __name__ == "__main__":
    main()
