"""Backbones of torchvision against torchvision itself: the same weights, features and images, to the bit."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import models

from models import backbones
from models.backbones import torchvision_hub, torchvision_networks
from models.backbones.errors import BackboneUnknown, WeightsUnavailable, WeightsUnfit
from models.backbones.pretrained_classifier import select_classes
from models.catalog.heads import MLP, Linear
from models.images.preprocessing import Preprocessing
from models.images.views import Views
from models.networks.feature_network import cut_before_classifier
from models.networks.image_sizes import InputSizeUnsupported
from models.networks.truncation import drop_stages
from models.pipeline.merge_head import describe_replaced, find_head_slot, merge_head
from tests.support.file_server import FileServer, serve_files
from tests.support.networks import given, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone

NAMES = ["resnet18", "squeezenet1_1", "googlenet", "mnasnet0_5", "shufflenet_v2_x0_5", "mobilenet_v3_small"]
SLOW = [
    "maxvit_t",
    "inception_v3",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
]
SLOW += ["regnet_y_400mf", "alexnet", "vgg11_bn", "resnext50_32x4d", "wide_resnet50_2", "mobilenet_v2"]
SIDES = {"inception_v3": 96, "maxvit_t": 224, "vit_b_32": 224, "alexnet": 96}
"""Where it is not 64."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of weights in place of torchvision's, and an empty TORCH_HOME."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with serve_files() as served:
        yield served


def publish(name: str, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Publish random weights of a network as torchvision's own; returns the network that torchvision loads of them."""
    weights = models.get_model_weights(name).DEFAULT
    arguments: dict[str, Any] = {"aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    network = models.get_model(name, **arguments).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    nn.init.normal_(list(network.parameters())[-1], std=0.1)
    opened = BytesIO()
    torch.save(network.state_dict(), opened)
    file = f"{name}-{hashlib.sha256(opened.getvalue()).hexdigest()[:8]}.pth"
    server.files[file] = opened.getvalue()
    monkeypatch.setattr(weights.value, "url", f"{server.url}/{file}")
    return models.get_model(name, weights=weights).eval()


def size(name: str) -> tuple[int, int, int]:
    """Return a size of images that the network takes."""
    return 3, SIDES.get(name, 64), SIDES.get(name, 64)


def rebuild_by_torchvision(backbone: Backbone, classes: int, replaced: str, state: dict[str, torch.Tensor]) -> Any:
    """Rebuild a network by the guide's lines."""
    network = models.get_model(
        backbone.architecture.removeprefix("torchvision/"), num_classes=classes, **backbone.model_args
    )
    versioned = network.state_dict()
    versioned.clear()
    versioned.update(state)
    return rebuild(network, replaced, versioned)


@pytest.mark.filterwarnings("ignore:The default weight initialization", "ignore:auxiliary heads")
@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
@torch.no_grad()
def test_features_logits_and_delivered_networks_equal_torchvisions_to_the_bit(
    name: str, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, asked = publish(name, server, monkeypatch), len(server.requests)
    backbone = backbones.load(f"torchvision/{name}", None)
    assert len(server.requests) == asked, "torchvision's own file in TORCH_HOME was not used"
    images = given(size(name), count=3)
    expected = reference(images)
    if not ends_in_relu_and_mean(name):
        assert torch.equal(backbone.network(images), expected)
    feature_network = cut_before_classifier(backbone.network, size(name), {})
    path = [path for path, module in reference.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    seen: list[torch.Tensor] = []
    reference.get_submodule(path).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    reference(images)
    vectors = seen[0].mean((2, 3)) if ends_in_relu_and_mean(name) else seen[0]
    assert torch.equal(feature_network.trunk(images), vectors)

    slot = find_head_slot(feature_network, Linear(), [])
    head = nn.Sequential(nn.Linear(feature_network.num_features, 3))
    merge_head(slot, head)
    state, replaced = slot.network.state_dict(), describe_replaced(slot)
    assert bool(replaced) == name.startswith(("squeezenet", "maxvit"))
    again = rebuild_by_torchvision(backbone, 3, json.dumps(replaced), state)
    assert torch.equal(again(images), slot.network(images))
    torch.testing.assert_close(again(images), head(vectors), rtol=1e-4, atol=1e-4)


def ends_in_relu_and_mean(name: str) -> bool:
    """Tell whether a ReLU and a mean follow the classifier, which Graft leaves out and puts before it."""
    return name.startswith("squeezenet")


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
@torch.no_grad()
def test_other_heads_and_shortened_networks_are_delivered(
    name: str, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(name, server, monkeypatch)
    backbone, images = backbones.load(f"torchvision/{name}", None), given((3, 64, 64))
    for dropped in (0, 1):
        network, paths = backbone.network, []
        if dropped:
            truncated = drop_stages(backbone.network, dropped, (3, 64, 64))
            network, paths = truncated.network, truncated.dropped
        feature_network = cut_before_classifier(network, (3, 64, 64), {})
        slot = find_head_slot(feature_network, MLP(), paths)
        features = feature_network.num_features
        merge_head(slot, nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 3)))
        replaced = json.dumps(describe_replaced(slot))
        again = rebuild_by_torchvision(backbone, 3, replaced, slot.network.state_dict())
        assert torch.equal(again(images), slot.network(images))
        assert again(images).shape == (2, 3)


def test_a_backbone_has_its_weights_preprocessing_labels_and_licence(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = publish("resnet18", server, monkeypatch)
    backbone = backbones.load("torchvision/resnet18.IMAGENET1K_V1", None)
    assert (backbone.architecture, backbone.model_args, backbone.licence) == (
        "torchvision/resnet18",
        {},
        "bsd-3-clause",
    )
    assert backbone.network.state_dict().keys() == reference.state_dict().keys()
    kept = select_classes(backbone, ["toucan", "goldfish"])
    categories = models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert torch.equal(kept.weight[0], reference.fc.weight[categories.index("toucan")])
    assert torch.equal(kept.bias[1], reference.fc.bias[categories.index("goldfish")])


@pytest.mark.parametrize("name", ["resnet50.IMAGENET1K_V2", "swin_s", "efficientnet_b2", "regnet_y_16gf", "vit_h_14"])
def test_images_are_prepared_as_torchvision_prepares_them(name: str) -> None:
    config = torchvision_hub.read_config(f"torchvision/{name}")
    _, weights = torchvision_hub._find_weights(f"torchvision/{name}")
    pixels = np.random.default_rng(0).integers(0, 256, (601, 723, 3), np.uint8)
    image = Image.fromarray(pixels)
    rendered = torch.from_numpy(Views(config.preprocessing, [], exact=True).render(image, b"", 0).copy()).float() / 255
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (config.preprocessing.mean, config.preprocessing.std)
    )
    torch.testing.assert_close((rendered - mean) / std, weights.transforms()(image))


def test_every_crop_of_torchvisions_weights_is_met_to_the_pixel() -> None:
    for summary in torchvision_hub.list_backbones():
        _, weights = torchvision_hub._find_weights(summary.name)
        transforms = weights.transforms()
        described = Preprocessing.from_config(torchvision_hub.describe_preprocessing(weights))
        assert [int(described.input_size[1] / described.crop_pct)] == transforms.resize_size


def test_lists_every_classifier_by_its_name_and_its_weights() -> None:
    listed = {summary.name: summary for summary in torchvision_hub.list_backbones()}
    assert {name for name in listed if "." not in name} == {
        f"torchvision/{name}" for name in models.list_models(module=torchvision.models)
    }
    assert "torchvision/vgg16.IMAGENET1K_FEATURES" not in listed
    swag = listed["torchvision/vit_h_14"]
    assert (swag.input_size, swag.licence, swag.accuracy) == ((3, 518, 518), "cc-by-nc-4.0", 0.88552)
    old, new = (listed[f"torchvision/resnet50.IMAGENET1K_V{number}"] for number in (1, 2))
    assert (old.accuracy, new.accuracy, old.multiply_adds) == (0.7613, 0.80858, 4_089_000_000)
    assert listed["torchvision/resnet50"].accuracy == new.accuracy


def test_a_vision_transformer_is_resized_as_torchvision_interpolates_it(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_vit.__module__ = "torchvision.models.vision_transformer"
    small_vit.__annotations__["weights"] = models.get_model_weights("vit_b_32") | None
    monkeypatch.setitem(torchvision.models._api.BUILTIN_MODELS, "vit_b_32", small_vit)
    reference = publish("vit_b_32", server, monkeypatch)
    backbone = backbones.load("torchvision/vit_b_32", None, 96)
    assert (backbone.model_args, backbone.own_size) == ({"image_size": 96}, (3, 224, 224))
    state = torchvision.models.vision_transformer.interpolate_embeddings(96, 32, reference.state_dict())
    expected = small_vit(image_size=96).eval()
    expected.load_state_dict(state)
    assert torch.equal(backbone.network(given((3, 96, 96))), expected(given((3, 96, 96))))
    with pytest.raises(InputSizeUnsupported, match="96 or 128"):
        backbones.load("torchvision/vit_b_32", None, 100)


def small_vit(weights: Any = None, image_size: int = 224, num_classes: int = 1000) -> Any:
    """Build a vision transformer of one narrow layer."""
    made = models.VisionTransformer(image_size, 32, 1, 2, 16, 32, num_classes=num_classes)
    if weights is not None:
        made.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
    return made


def test_what_torchvision_does_not_have_is_refused_by_name(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resnet1", "fcn_resnet50", "quantized_resnet18", "", "raft_small"):
        with pytest.raises(BackboneUnknown, match="source=torchvision"):
            backbones.read_config(f"torchvision/{name}", None)
    for name in ("resnet50.IMAGENET1K_V3", "vgg16.IMAGENET1K_FEATURES"):
        with pytest.raises(BackboneUnknown, match="it has IMAGENET1K_V1"):
            backbones.read_config(f"torchvision/{name}", None)
    weights = models.get_model_weights("resnet18").DEFAULT
    monkeypatch.setattr(weights.value, "url", f"{server.url}/resnet18-00000000.pth")
    with pytest.raises(WeightsUnavailable, match=r"resnet18-00000000\.pth"):
        backbones.load("torchvision/resnet18", None)
    publish("resnet34", server, monkeypatch)
    url = models.get_model_weights("resnet34").DEFAULT.url
    monkeypatch.setattr(weights.value, "url", url)
    with pytest.raises(WeightsUnfit, match=r"resnet18.*layer1"):
        backbones.load("torchvision/resnet18", None)


def test_a_local_folder_may_hold_a_network_of_torchvision(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = models.shufflenet_v2_x0_5(num_classes=4).eval()
    folder = tmp_path / "own"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"architecture": "torchvision/shufflenet_v2_x0_5", "num_classes": 4, "pretrained_cfg": {"num_classes": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    backbone = backbones.load("local/own", tmp_path, 64)
    assert torch.equal(backbone.network(given((3, 64, 64))), network(given((3, 64, 64))))
    assert torchvision_networks.is_known(backbone.architecture)
