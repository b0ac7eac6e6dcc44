"""Forty families of timm and torchvision: cut through their graphs to the bit, with a head and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.catalog.cuts import Stage
from models.networks.cut_network import CutNetwork, cut_at
from models.networks.feature_network import cut_before_classifier
from tests.support.networks import network
from tools.coverage_checks import (
    GradientMissing,
    HalvesDiffer,
    check_gradient_step,
    check_halves,
    check_numbers,
    check_structure,
)

FAMILIES = ["test_resnet", "test_vit", "test_efficientnet", "torchvision/squeezenet1_1"]
SLOW = [
    "beit_base_patch16_224", "botnet26t_256", "cait_xxs24_224", "coat_lite_tiny", "coatnet_nano_rw_224",
    "convit_tiny", "convnextv2_atto", "crossvit_tiny_240", "davit_tiny", "deit_tiny_distilled_patch16_224",
    "densenet121", "dla34", "dpn48b", "edgenext_xx_small", "efficientformer_l1", "efficientvit_b0",
    "efficientvit_m0", "fastvit_t8", "fbnetc_100", "focalnet_tiny_srf", "gcvit_xxtiny", "ghostnet_050",
    "hardcorenas_a", "hrnet_w18_small", "inception_next_atto", "levit_128s", "mambaout_femto", "maxvit_pico_rw_256",
    "mixer_s32_224", "mobilenetv4_conv_small", "mobileone_s0", "mvitv2_tiny", "nfnet_f0", "poolformer_s12",
    "pvt_v2_b0", "regnetx_002", "repvgg_a0", "res2net50_14w_8s", "swin_tiny_patch4_window7_224", "tiny_vit_5m_224",
    "twins_svt_small", "visformer_tiny", "volo_d1_224", "xcit_nano_12_p16_224", "torchvision/googlenet",
    "torchvision/maxvit_t", "torchvision/regnet_y_400mf", "torchvision/swin_t", "torchvision/vit_b_32",
]  # fmt: skip


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_family_is_cut_to_the_bit(name: str) -> None:
    structure = check_structure(name)
    assert structure["structure"] == "graph", structure
    numbers = check_numbers(name)
    assert numbers["numbers"] == "equal", numbers


class Drifting(nn.Module):
    """A top that is a little off."""

    def __init__(self, top: nn.Module) -> None:
        super().__init__()
        self.top = top

    def forward(self, features: Any) -> Any:
        """Compute what the top computes, and a little more."""
        return self.top(features) * 1.0001


def test_halves_that_differ_and_gradients_that_are_missing_are_found() -> None:
    feature_network = cut_before_classifier(network("test_resnet"), (3, 64, 64), {})
    cut = cut_at(feature_network, Stage(name="layer2"))
    check_halves(feature_network, cut)
    drifting = CutNetwork(cut.trunk, Drifting(cut.top), cut.cut, cut.shape, cut.digest)
    with pytest.raises(HalvesDiffer, match="layer2"):
        check_halves(feature_network, drifting)
    check_gradient_step(feature_network, "layer2.0.act2")
    with torch.no_grad():
        feature_network.network.get_submodule("layer4")[0].conv1.weight.fill_(torch.nan)
    with pytest.raises(GradientMissing, match="finite"):
        check_gradient_step(feature_network, "layer2.0.act2")
