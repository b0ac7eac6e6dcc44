"""Check one architecture of transformers: convert a small network of it, cut the result, and compare with the original.

Nothing is downloaded: the network is built from a small configuration, with random weights that tell images apart, and
written as a folder, as transformers' own save_pretrained does.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from models.catalog.cuts import Stage
from models.conversion.errors import ConversionError
from models.conversion.transformers_reader import read
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.cut_network import cut_at
from models.networks.feature_network import cut_before_classifier
from tools.coverage_checks import LEAST_SPREAD, check_gradient_step, check_halves, choose_cuts, measure_spread
from tools.transformers_networks import CLASSIFIERS, TOWERS, build, write

if TYPE_CHECKING:
    from models.conversion.converted import ConvertedNetwork

PREFIX = "transformers/"
SIDE = 64
"""Longer side of the images in pixels."""
LARGEST_DIFFERENCE = 1e-5
"""Largest difference of an output to the original's, as a share of the greatest."""


class OutputsDiffer(Exception):
    """The converted network does not compute what the original computes."""


def list_networks() -> list[str]:
    """List the networks of transformers that are tried."""
    return [f"{PREFIX}{name}" for name in (*CLASSIFIERS, *TOWERS)]


def check_conversion(architecture: str) -> dict[str, Any]:
    """Convert a small network of an architecture, and check its cuts, its gradients and its outputs."""
    transformers.logging.set_verbosity_error()  # it prints a table of the weights of every network
    class_name, arguments = (CLASSIFIERS | TOWERS)[architecture.removeprefix(PREFIX)]
    row: dict[str, Any] = {"class": class_name}
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), build(class_name, arguments))
        processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        try:
            converted = read(folder)
        except ConversionError as error:
            return {**row, "structure": "refused", "reason": f"{error.code}: {' '.join(str(error).split())}"[:300]}
    row["input_size"] = "x".join(map(str, converted.input_size[1:]))
    feature_network = cut_before_classifier(converted.network, converted.input_size, {"architecture": architecture})
    cuts = list_candidate_cuts(feature_network)
    row |= {"structure": "graph", "cuts": len(cuts), "difference": f"{measure_difference(converted):.1e}"}
    spread = measure_spread(feature_network)
    row["spread"] = f"{spread:.1e}"
    if not spread > LEAST_SPREAD:
        return {**row, "numbers": "failed", "reason": "the features of different images do not differ"}
    names = choose_cuts(feature_network)
    for cut in names:
        check_halves(feature_network, cut_at(feature_network, Stage(name=cut)))
    check_gradient_step(feature_network, names[0] if names else None)
    return {**row, "numbers": "equal"}


@torch.no_grad()
def measure_difference(converted: ConvertedNetwork) -> float:
    """Measure the greatest difference to the original's outputs, as a share of the greatest; raises OutputsDiffer."""
    assert converted.original is not None
    generator = torch.Generator().manual_seed(1)
    differences = []
    for count in (1, 3):
        images = torch.randn(count, *converted.input_size, generator=generator)
        expected = torch.from_numpy(converted.original.run(images.numpy()))
        found = converted.network(images)
        differences.append(float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12)))
    if not max(differences) <= LARGEST_DIFFERENCE:
        raise OutputsDiffer(f"the outputs differ from the original's by {max(differences):.1e} of the greatest")
    return max(differences)
