"""Write the parameter counts of timm's architectures to models/backbones: `python -m tools.parameter_counts`.

Building a network to count them takes about 0.1 s even without memory for its weights, and timm has over a thousand.
"""

import csv
from pathlib import Path

import timm
import torch

TABLE = Path(__file__).parents[1] / "models" / "backbones" / "parameter_counts.csv"


def count(architecture: str) -> int:
    """Count the parameters of an architecture as it is pretrained, without downloading or allocating anything."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(architecture).parameters())


def main() -> None:
    """Count the parameters of all architectures with pretrained weights."""
    architectures = sorted({name.split(".")[0] for name in timm.list_pretrained()})
    with TABLE.open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("architecture", "parameters"))
        writer.writerows((architecture, count(architecture)) for architecture in architectures)


if __name__ == "__main__":
    main()
