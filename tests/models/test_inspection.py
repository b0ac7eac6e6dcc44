"""Costs of cuts against published figures and against each other."""

from __future__ import annotations

import pytest

from models import backbones
from models.inspection import inspect


@pytest.mark.parametrize(
    ("name", "multiply_adds", "parameters", "stage"),
    [
        # He et al. (2015) and Sandler et al. (2018) give 4.1 and 0.3 thousand million multiply-adds.
        ("timm/resnet50.a1_in1k", 4.09e9, 25_557_032, "layer3"),
        ("timm/mobilenetv2_100.ra_in1k", 0.3e9, 3_504_872, "blocks.4"),
    ],
)
def test_agrees_with_the_papers(name: str, multiply_adds: float, parameters: int, stage: str) -> None:
    found = inspect(*backbones.outline(name, None))
    assert found["multiply_adds"] == pytest.approx(multiply_adds, rel=0.01)
    assert found["parameters"] == parameters
    assert stage in found["stages"]


def test_a_cut_parts_all_costs_in_two() -> None:
    found = inspect(*backbones.outline("timm/test_resnet.r160_in1k", None))
    for cut in found["cuts"]:
        assert cut["multiply_adds_below"] + cut["multiply_adds_above"] == found["multiply_adds"]
        assert cut["parameters_below"] + cut["parameters_above"] == found["parameters"]
    below = [cut["multiply_adds_below"] for cut in found["cuts"]]
    assert below == sorted(below)
    last = next(cut for cut in found["cuts"] if cut["name"] == "global_pool.flatten")
    assert (last["shape"], last["bytes_per_feature"]) == ([96], 192)
    assert last["parameters_above"] == 96 * 1000 + 1000
