"""Module paths from what exporters write."""

from __future__ import annotations

from onnx import NodeProto, StringStringEntryProto, helper

from models.conversion.onnx.paths import find_paths


def named(*names: str, inputs: str = "x") -> list[NodeProto]:
    return [helper.make_node("Conv", [inputs], [f"o{number}"], name=name) for number, name in enumerate(names)]


def test_names_of_torchs_older_exporter() -> None:
    nodes = named(
        "/conv1/Conv", "/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/Add", "/stages/stages.0/blocks/blocks.1/Mul"
    )
    assert find_paths(nodes, []) == ["conv1", "layer1.0.conv1", "layer1.0", "stages.0.blocks.1"]


def test_metadata_of_torchs_newer_exporter() -> None:
    nodes = named("node_conv", "node_add", "node_mul")
    for node, scopes in zip(
        nodes, (["", "layer1", "layer1.0", "layer1.0.conv1", "conv"], ["", "add"], ["(", "mul"]), strict=True
    ):
        node.metadata_props.append(StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value=str(scopes)))
    assert find_paths(nodes, []) == ["layer1.0.conv1", "", "_"]


def test_names_of_tensorflow() -> None:
    """The model's own name and TensorFlow's are left out, and layers are put into their block."""
    nodes = named(
        "StatefulPartitionedCall/model/conv1/Conv2D",
        "StatefulPartitionedCall/model/block_1_expand/Conv2D",
        "StatefulPartitionedCall/model/block_1_add/add",
        "StatefulPartitionedCall/model/block2a_se_squeeze/Mean",
    )
    assert find_paths(nodes, []) == ["conv1", "block_1.expand", "block_1.add", "block2a.se_squeeze"]


def test_names_of_weights() -> None:
    """Torch before 1.12 numbers its operators; those without weights are where the one before was."""
    nodes = [
        helper.make_node("Conv", ["x", "features.0.weight"], ["a"], name="Conv_0"),
        helper.make_node("Relu", ["a"], ["b"], name="Relu_1"),
        helper.make_node("Conv", ["b", "features.3.weight"], ["c"], name="Conv_2"),
    ]
    assert find_paths(nodes, ["features.0.weight", "features.3.weight"]) == ["features.0", "features", "features.3"]


def test_names_of_mxnet() -> None:
    nodes = named("resnetv17_stage1_conv0_fwd", "resnetv17_stage1_relu0_fwd", "resnetv17_stage2_conv0_fwd")
    assert find_paths(nodes, []) == [
        "resnetv17_stage1.conv0_fwd",
        "resnetv17_stage1.relu0_fwd",
        "resnetv17_stage2.conv0_fwd",
    ]


def test_numbered_operators_have_no_paths() -> None:
    assert find_paths(named("Conv_0", "Conv_1", "p2o.Conv.3"), []) is None
    assert find_paths(named("", "", ""), []) is None


def test_hostile_names_become_paths() -> None:
    long = named("/" + "/".join(["a" * 100] * 100) + "/Conv", "/../../etc/x/Conv", "/a b/__class__/Conv")
    for path in find_paths(long, []) or []:
        assert len(path) <= 160
        assert all(part.replace("_", "a").isalnum() for part in path.split("."))
    nodes = named("node_1", "node_2")
    for node, value in zip(nodes, ("[" * 9000, "__import__('os').system('x')"), strict=True):
        node.metadata_props.append(StringStringEntryProto(key="name_scopes", value=value))
    assert find_paths(nodes, []) is None
