"""Module paths from names."""

from __future__ import annotations

import pytest

from models.conversion.naming import (
    ResolutionStages,
    clean_path,
    group_block_names,
    split_scopes,
    strip_common_scope,
)


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("/layer1/layer1.0/layer1.0.conv1/Conv", ["layer1.0.conv1"]),
        ("/layer1/layer1.0/conv1/Conv", ["layer1.0", "conv1"]),
        ("/Conv", []),
        ("Conv_3", []),
        ("", []),
        ("StatefulPartitionedCall/model/conv1/Conv2D", ["model", "conv1"]),
    ],
)
def test_split_scopes(name: str, scopes: list[str]) -> None:
    assert split_scopes(name) == scopes


def test_clean_path() -> None:
    assert clean_path(["layer 1", "a.b-c", ".."]) == "layer_1.a.b_c"
    assert len(clean_path(["x" * 500])) == 160
    assert clean_path(["a"] * 100).count(".") == 15


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("block_1_expand", "block_1.expand"),
        ("block2a_se_squeeze", "block2a.se_squeeze"),
        ("conv2_block1_1_conv", "conv2_block1.1_conv"),
        ("convnext_tiny_stage_0_block_0_depthwise_conv", "convnext_tiny_stage_0_block_0.depthwise_conv"),
        ("mixed0", "mixed0"),
        ("conv1", "conv1"),
        ("layer_normalization", "layer_normalization"),
        ("layer1.0.conv1", "layer1.0.conv1"),
    ],
)
def test_layers_of_a_block_are_put_into_it(name: str, path: str) -> None:
    assert group_block_names(name) == path


def test_the_models_own_name_is_shared_by_all() -> None:
    assert strip_common_scope([["model", "a"], ["model", "b", "c"], []]) == 1
    assert strip_common_scope([["a"], ["b"]]) == 0
    assert strip_common_scope([["model", "a"]]) == 0


def test_stages_begin_where_maps_become_smaller() -> None:
    stages = ResolutionStages()
    shapes = [(2, 3, 64, 64), (2, 8, 32, 32), (2, 8, 32, 32), (2, 8, 16, 16), (2, 8, 32, 32), (2, 8)]
    assert [stages.name_stage(shape) for shape in shapes] == [f"stage.{number}" for number in (0, 1, 1, 2, 2, 2)]
