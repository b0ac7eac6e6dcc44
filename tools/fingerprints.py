"""Write the fingerprints of all architectures to models/backbones: `python -m tools.fingerprints`.

Weights that come without the name of their architecture are found by the names and shapes of their tensors. Rows that
are there are kept: delete the file to write it anew.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from timm.models import get_pretrained_cfg

from models.backbones import architectures, torchvision_networks
from models.backbones.state_dicts import compute_fingerprint, list_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).parents[1] / "models" / "backbones" / "fingerprints.csv"
COLUMNS = ("architecture", "classifiers", "fingerprint")


def describe(architecture: str) -> tuple[str, str, str]:
    """Describe an architecture by the paths of its classifiers and the fingerprint of all other tensors."""
    if architectures.is_torchvision(architecture):
        classifiers = torchvision_networks.find_classifiers(architecture)
        state = torchvision_networks.list_own_shapes(architecture)
        return architecture, " ".join(classifiers), compute_fingerprint(state, classifiers)
    network = architectures.build(architecture)
    cfg = get_pretrained_cfg(architecture)
    named = (cfg.classifier if cfg is not None else None) or ()
    classifiers = [named] if isinstance(named, str) else list(named)
    return architecture, " ".join(classifiers), compute_fingerprint(list_shapes(network.state_dict()), classifiers)


def list_architectures() -> Iterator[str]:
    """List the architectures of timm and torchvision."""
    yield from timm.list_models()
    yield from (f"{torchvision_networks.PREFIX}{name}" for name in torchvision_networks.list_names())


def main() -> None:
    """Append what the table lacks."""
    torch.set_num_threads(1)
    known = set()
    if TABLE.exists():
        with TABLE.open(newline="") as table:
            known = {row["architecture"] for row in csv.DictReader(table)}
    with TABLE.open("a", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        if not known:
            writer.writerow(COLUMNS)
        for architecture in list_architectures():
            if architecture not in known:
                writer.writerow(describe(architecture))
                table.flush()


if __name__ == "__main__":
    main()
