"""Features of several depths, against the averages of what the whole network's stages give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.catalog.pooling import Depths
from models.networks.depth_pooling import PoolingUnsupported, pool_depths
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_file import build, describe
from tests.support.networks import Wayward, given, network

SWIN = {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1), "embed_dim": 24}


def record(whole: nn.Module, paths: list[str], images: torch.Tensor) -> list[torch.Tensor]:
    """Record what modules give for images."""
    found: dict[str, torch.Tensor] = {}
    for path in paths:
        whole.get_submodule(path).register_forward_hook(lambda _, __, output, path=path: found.update({path: output}))
    whole(images)
    return [found[path] for path in paths]


@pytest.mark.parametrize(
    ("name", "arguments", "side", "stages", "is_top_known"),
    [
        ("test_resnet", {}, 64, ["maxpool", "layer1", "layer2", "layer3", "layer4"], True),
        ("test_efficientnet", {}, 64, ["bn1", *(f"blocks.{number}" for number in range(5)), "bn2"], True),
        ("test_vit", {}, 160, ["norm_pre", *(f"blocks.{number}" for number in range(5)), "norm"], False),
        ("swin_tiny_patch4_window7_224", SWIN, 64, ["patch_embed", "layers.0", "layers.1", "layers.2", "norm"], True),
        ("test_convnext", {}, 64, ["stem", "stages.0", "stages.1", "stages.2", "stages.3"], False),
    ],
)
@torch.no_grad()
def test_features_are_the_networks_own_and_averages_of_its_stages(
    name: str, arguments: dict[str, Any], side: int, stages: list[str], is_top_known: bool
) -> None:
    whole, size = network(name, **arguments), (3, side, side)
    images = given(size, 3)
    deep = pool_depths(whole, Depths(stages=64, numbers=1), size)
    features = cut_before_classifier(deep, size, {}).trunk(images)
    own = cut_before_classifier(whole, size, {}).trunk(images)
    assert torch.equal(features[:, : own.shape[1]], own)
    values = record(whole, stages[:-1] if is_top_known else stages, images)
    if name == "test_vit":
        values = [value[:, 1:].transpose(1, 2).reshape(3, 64, 10, 10) for value in values]
    elif name.startswith("swin"):
        values = [value.permute(0, 3, 1, 2) for value in values]
    averages = torch.cat([value.mean((2, 3)) for value in values], 1)
    torch.testing.assert_close(features[:, own.shape[1] :], averages, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_grid_has_equal_cells_which_overlap_where_a_map_does_not_divide() -> None:
    whole, size = network("test_resnet"), (3, 96, 96)
    images = given(size)
    deep = pool_depths(whole, Depths(stages=1, numbers=400), size)
    features = cut_before_classifier(deep, size, {}).trunk(images)
    (top,) = record(whole, ["layer4"], images)
    assert top.shape[2:] == (3, 3)
    cells = [top[:, :, y : y + 2, x : x + 2].mean((2, 3)) for y in (0, 1) for x in (0, 1)]
    expected = torch.stack(cells, 2).flatten(1)
    torch.testing.assert_close(features[:, -expected.shape[1] :], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_graph_is_of_plain_torch_and_its_tensors_are_the_networks() -> None:
    whole, size = network("mobilenetv3_small_050"), (3, 64, 64)
    deep = pool_depths(whole, Depths(), size)
    own = {name: tensor.data_ptr() for name, tensor in whole.state_dict().items() if not name.startswith("classifier")}
    shared = {name: tensor.data_ptr() for name, tensor in deep.state_dict().items() if name in own}
    assert shared == {name: own[name] for name in shared}
    assert len(shared) >= len(own) - sum(name.endswith("num_batches_tracked") for name in own)
    again = build(describe(deep))
    again.to_empty(device="cpu").load_state_dict(deep.state_dict())
    images = given(size)
    assert torch.equal(again.eval()(images), deep(images))


def test_a_network_without_a_graph_has_no_maps() -> None:
    with pytest.raises(PoolingUnsupported, match="depend on its input"):
        pool_depths(Wayward(), Depths(), (3, 32, 32))


def test_a_network_whose_layers_are_no_plain_torch_is_refused() -> None:
    whole = network("test_resnet")
    whole.layer2.append(Unlisted())
    with pytest.raises(PoolingUnsupported, match="'histc'"):
        pool_depths(whole, Depths(), (3, 64, 64))


class Unlisted(nn.Module):
    """A layer of a function that no description names."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Add something."""
        return images + torch.histc(images, 1).reshape(1, 1, 1, 1)
