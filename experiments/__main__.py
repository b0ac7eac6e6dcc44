"""All experiments, or those that are named: `make experiments` writes docs/experiments.md and its figures.

Real photographs and weights are taken from the folder that GRAFT_MATERIAL names; without it, the digits that
scikit-learn carries and the backbone that ships with the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.material import KEPT, ROOT, opened
from experiments.measuring import EXPERIMENTS, write
from experiments.running import Effort

QUICK = Effort(range(2), 0.2)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; without any, all")
    parser.add_argument("--quick", action="store_true", help="2 seeds, a fifth of the epochs: to see whether it runs")
    parser.add_argument(
        "--out", type=Path, help="folder of the page; the default is docs where all is measured in full"
    )
    chosen = parser.parse_args()
    names = chosen.names or list(EXPERIMENTS)
    if unknown := set(names) - set(EXPERIMENTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    is_whole = not chosen.quick and set(names) == set(EXPERIMENTS)
    out = chosen.out or (ROOT / "docs" if is_whole else KEPT / "page")
    write(names, QUICK if chosen.quick else Effort(range(opened().seeds)), out)


if __name__ == "__main__":
    main()
