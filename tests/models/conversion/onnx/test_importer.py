"""Imported networks against onnxruntime and against the networks that they were exported from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torchvision
from torch import nn

from models.conversion.onnx.importer import convert
from models.networks.candidate_cuts import inspect
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_file import build, describe
from tests.support.networks import network, randomize_norms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

SIDE = 64


def make_timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: randomize_norms(network(name, num_classes=7, **arguments))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": make_timm("test_resnet"),
    "efficientnet": make_timm("test_efficientnet"),
    "convnext": make_timm("test_convnext"),
    "vit": make_timm("test_vit", img_size=SIDE),
    "shufflenet": lambda: randomize_norms(torchvision.models.shufflenet_v2_x0_5(num_classes=7)),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=7),
    "attention": lambda: torchvision.models.VisionTransformer(SIDE, 16, 2, 2, 16, 32, num_classes=7),
}
"""Networks of each kind of operator: depthwise and grouped convolutions, transposes, windows, tokens first."""
MORE: dict[str, Callable[[], nn.Module]] = {
    "densenet": make_timm("densenet121", block_config=(2, 2, 2, 2)),
    "inception": make_timm("inception_v3"),
    "mobilenet": make_timm("mobilenetv3_small_050"),
    "regnet": make_timm("regnety_002"),
    "resnetv2": make_timm("resnetv2_18"),
    "channel attention": make_timm("ecaresnet26t"),
    "squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=7),
    "googlenet": lambda: torchvision.models.googlenet(num_classes=7, aux_logits=False, init_weights=True),
    "mixer": make_timm("resmlp_12_224", img_size=SIDE),
    "deit": make_timm("deit_tiny_distilled_patch16_224", img_size=SIDE, depth=2),
    "xcit": make_timm("xcit_nano_12_p16_224", img_size=SIDE, depth=2),
    "cait": make_timm("cait_xxs24_224", img_size=SIDE, depth=2),
    "maxvit": make_timm("maxvit_rmlp_pico_rw_256", img_size=SIDE, depths=(1, 1, 1, 1)),
    "eva": make_timm("eva02_tiny_patch14_224", img_size=56, depth=2),
    "levit": make_timm("levit_128s", img_size=SIDE),
    "mobilevit": make_timm("mobilevit_xxs"),
}
"""Further networks."""
EXPORTED = [
    ("resnet", 9, True),
    ("resnet", 17, False),
    ("efficientnet", 12, False),
    ("convnext", 9, True),
    ("vit", 17, True),
    ("vit", 17, False),
    ("attention", 17, True),
    ("attention", 17, False),
    *(pytest.param("shufflenet", opset, True, marks=pytest.mark.extended) for opset in (9, 17)),
    *(pytest.param("swin", 17, is_static, marks=pytest.mark.extended) for is_static in (True, False)),
]
"""Networks, versions of the operators, and whether the file is for one image."""


def export(
    whole: nn.Module, path: Path, *, opset: int, is_static: bool, is_new: bool = False, side: int = SIDE, **options: Any
) -> None:
    """Export a network by one of torch's two exporters."""
    logging.disable(logging.WARNING)
    images = torch.randn(1 if is_static or not is_new else 2, 3, side, side)
    if is_new:
        dynamic = None if is_static else ({0: "batch"},)
        torch.onnx.export(
            whole,
            (images,),
            path,
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
        )
    else:
        axes = None if is_static else {"images": {0: "batch"}, "logits": {0: "batch"}}
        names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": axes}
        torch.onnx.export(whole, (images,), path, dynamo=False, opset_version=opset, **names, **options)
    logging.disable(logging.NOTSET)


@torch.no_grad()
def enliven(whole: nn.Module) -> nn.Module:
    """Draw weights with which logits differ from image to image."""
    random = torch.Generator().manual_seed(3)
    for name, parameter in whole.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=1.7 / parameter[0].numel() ** 0.5, generator=random)
        elif "gamma" in name or "scale" in name or name.endswith("bias"):
            parameter.normal_(std=0.3, generator=random)
    return whole.eval()


def check_against(whole: nn.Module, converted: ConvertedNetwork) -> None:
    """Compare a converted network with its original file and with the network that was exported."""
    images = torch.randn(3, *converted.input_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, together = whole(images), converted.network(images)
        alone = torch.cat([converted.network(image[None]) for image in images])
    original = torch.from_numpy(converted.original.run(images.numpy()))
    spread = (expected - expected.roll(1, 0)).abs().mean()
    for other in (expected, original):
        assert (together - other).abs().max() < 1e-3 * spread
        assert (alone - other).abs().max() < 1e-3 * spread


def import_exported(whole: nn.Module, folder: Path, **options: Any) -> ConvertedNetwork:
    path = folder / "model.onnx"
    export(whole, path, **options)
    return convert(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "opset", "is_static"), EXPORTED)
def test_networks_by_torchs_older_exporter(name: str, opset: int, is_static: bool, tmp_path: Path) -> None:
    whole = enliven(NETWORKS[name]())
    check_against(whole, import_exported(whole, tmp_path, opset=opset, is_static=is_static))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("name", MORE)
def test_more_networks_by_torchs_older_exporter(name: str, opset: int, tmp_path: Path) -> None:
    if name == "eva":
        pytest.skip("torch's older exporter does not export it")
    if opset < 17 and name in ("mixer", "deit", "xcit", "cait", "maxvit", "eva", "mobilevit"):
        pytest.skip("torch does not export it with this version")
    whole, side = enliven(MORE[name]()), {"eva": 56, "inception": 96}.get(name, SIDE)
    check_against(whole, import_exported(whole, tmp_path, opset=opset, is_static=opset != 13, side=side))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("opset", "is_static"), [(18, False), (18, True), (20, True), (23, False)])
@pytest.mark.parametrize("name", [*NETWORKS, *MORE])
def test_networks_by_torchs_newer_exporter(name: str, opset: int, is_static: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    if name == "maxvit":
        pytest.skip("torch's newer exporter does not export it")
    whole, side = enliven({**NETWORKS, **MORE}[name]()), {"eva": 56, "inception": 96}.get(name, SIDE)
    check_against(whole, import_exported(whole, tmp_path, opset=opset, is_static=is_static, is_new=True, side=side))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")
def test_a_network_by_torchs_newer_exporter(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    whole = enliven(NETWORKS["convnext"]())
    converted = import_exported(whole, tmp_path, opset=18, is_static=False, is_new=True)
    check_against(whole, converted)
    assert {"stem.0", "stages.0.blocks.0.conv_dw", "head.fc"} <= set(converted.network.paths.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["resnet", "convnext", "vit"])
def test_cuts_are_equal_to_the_bit_and_everything_above_them_learns(name: str, tmp_path: Path) -> None:
    converted = import_exported(enliven(NETWORKS[name]()), tmp_path, opset=17, is_static=True)
    features = cut_before_classifier(converted.network, converted.input_size, {"architecture": "graph"})
    images = torch.randn(3, *converted.input_size)
    with torch.no_grad():
        expected = features.trunk(images)
    cuts = list(features.tail.cuts)
    assert len(cuts) > 10
    for cut in cuts[:: len(cuts) // 4]:
        trunk, top = features.tail.build_parts(cut)
        value = trunk(images)
        assert torch.equal(top(value.detach()).flatten(1), expected), cut
        above = [parameter.requires_grad_() for parameter in top.parameters()]
        if not above:
            continue
        top(value.detach()).flatten(1).square().mean().backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in above)


@pytest.mark.filterwarnings("ignore")
def test_stages_are_those_of_the_exported_network(tmp_path: Path) -> None:
    converted = import_exported(network("test_resnet", num_classes=7), tmp_path, opset=13, is_static=False)
    stages = inspect(converted.network, converted.input_size)["stages"]
    assert [stage for stage in stages if stage.startswith("layer")] == ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.filterwarnings("ignore")
def test_a_network_survives_its_description(tmp_path: Path) -> None:
    converted = import_exported(enliven(NETWORKS["vit"]()), tmp_path, opset=17, is_static=False)
    again = build(describe(converted.network))
    again.load_state_dict(converted.network.state_dict(), assign=True)
    images = torch.randn(2, *converted.input_size)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), converted.network(images))


@pytest.mark.filterwarnings("ignore")
def test_batch_normalization_may_stay_unfolded(tmp_path: Path) -> None:
    whole = enliven(NETWORKS["resnet"]())
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    converted = import_exported(whole, tmp_path, opset=13, is_static=True, **options)
    check_against(whole, converted)
    assert any(isinstance(module, nn.BatchNorm2d) for module in converted.network.modules())
