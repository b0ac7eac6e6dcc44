"""Run all experiments or the named ones: `make experiments` writes docs/experiments.md and its figures.

Photographs and weights come from the folder in GRAFT_MATERIAL; without it, the experiments use scikit-learn's digits
and the backbone that ships with Graft.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.material import KEPT, ROOT, open_material
from experiments.measuring import EXPERIMENTS, write
from experiments.running import Effort

QUICK = Effort(range(2), 0.2)


def main() -> None:
    """Run the experiments and write the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="2 seeds, a fifth of the epochs: a smoke test")
    parser.add_argument("--out", type=Path, help="folder of the page; default: docs for a full run of all experiments")
    chosen = parser.parse_args()
    names = chosen.names or list(EXPERIMENTS)
    if unknown := set(names) - set(EXPERIMENTS):
        parser.error(f"unknown experiments: {', '.join(sorted(unknown))}")
    is_whole = not chosen.quick and set(names) == set(EXPERIMENTS)
    out = chosen.out or (ROOT / "docs" if is_whole else KEPT / "page")
    write(names, QUICK if chosen.quick else Effort(range(open_material().seeds)), out)


if __name__ == "__main__":
    main()
