"""Descriptions of networks: written, built and refused."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from models.networks import graph_file
from models.networks.graph_copy import GraphError
from models.networks.graph_operations import FUNCTIONS, MODULES
from tests.support.graphs import SIZE, graph_network
from tests.support.networks import given

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}),
        ("mobilenetv3_small_050", {}),
        ("convnext_atto", {}),
    ],
)
@torch.no_grad()
def test_a_described_network_is_built_again_and_computes_the_same(name: str, arguments: dict[str, object]) -> None:
    network, whole = graph_network(name, num_classes=7, **arguments)
    description = graph_file.describe(network)
    text = json.dumps(description)
    built = graph_file.load(json.loads(text), {key: value.clone() for key, value in network.state_dict().items()})
    assert torch.equal(built(given(SIZE, 3)), whole(given(SIZE, 3)))
    assert json.dumps(graph_file.describe(built)) == text
    outline = graph_file.build(json.loads(text))
    assert all(parameter.is_meta for parameter in outline.parameters())
    assert outline(torch.empty(2, *SIZE, device="meta")).shape == (2, 7)
    assert outline.num_classes == 7


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """The description of a network of few nodes."""
    network, _ = graph_network("resnet18", num_classes=7)
    return json.loads(json.dumps(graph_file.describe(network)))  # type: ignore[no-any-return]


def _set(description: dict[str, Any], *path: Any, value: Any) -> None:
    *most, last = path
    for step in most:
        description = description[step]
    description[last] = value


def _node(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change the description's third node, which calls a module."""
    return lambda description: description["nodes"][2].update(changes)


def _function(target: str, *args: Any) -> Callable[[dict[str, Any]], None]:
    return _node(op="call_function", target=target, args=list(args))


def _nest(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another version": (lambda d: _set(d, "version", value=2), "version"),
    "a stray key": (lambda d: _set(d, "code", value="import os"), "code"),
    "an unknown function": (_function("os.system", "touch x"), "'os.system'"),
    "a function outside the list": (_function("torch.load", "x"), "'torch.load'"),
    "an attribute of a function": (_function("torch.add.__globals__"), "torch.add.__globals__"),
    "an unknown class": (lambda d: _set(d, "modules", "conv1", value=["LSTM", {}]), "'LSTM'"),
    "a class by its path": (lambda d: _set(d, "modules", "conv1", value=["modules.Linear", {}]), "modules.Linear"),
    "an unknown argument": (lambda d: _set(d, "modules", "conv1", 1, "device", value="cuda"), "'device'"),
    "an argument of another type": (lambda d: _set(d, "modules", "conv1", 1, "in_channels", value="a"), "built"),
    "a negative size": (lambda d: _set(d, "modules", "conv1", 1, "out_channels", value=-4), "built"),
    "a huge layer": (lambda d: _set(d, "modules", "conv1", 1, "out_channels", value=10**12), "weights; at most"),
    "a size beyond integers": (lambda d: _set(d, "modules", "conv1", 1, "out_channels", value=10**30), "built"),
    "a huge tensor": (lambda d: _set(d, "buffers", "big", value=[[10**6, 10**6], "float32"]), "weights; at most"),
    "an unknown type": (lambda d: _set(d, "buffers", "big", value=[[2], "qint8"]), "'qint8'"),
    "a module called __class__": (lambda d: _set(d, "modules", "__class__", value=["ReLU", {}]), "no allowed name"),
    "a module that hides a method": (lambda d: _set(d, "modules", "forward", value=["ReLU", {}]), "no allowed name"),
    "a module inside of a module": (lambda d: _set(d, "modules", "conv1.x", value=["ReLU", {}]), "inside of a module"),
    "a tensor in place of a weight": (
        lambda d: _set(d, "buffers", "conv1.weight", value=[[2], "float32"]),
        "inside of a module",
    ),
    "a path of no end": (
        lambda d: _set(d, "modules", ".".join("a" * 100), value=["ReLU", {}]),
        "no allowed name",
    ),
    "a call of what is no module": (_node(target="layer1"), "lacks"),
    "a call of a method": (_node(target="conv1.forward"), "lacks"),
    "an attribute of a module": (_node(op="get_attr", target="conv1.weight.data", args=[]), "lacks"),
    "an attribute of the network": (_node(op="get_attr", target="__class__", args=[]), "lacks"),
    "a method": (_node(op="call_method", target="__class__"), "op"),
    "its own node": (_node(args=[{"node": "bn1"}]), "later"),
    "a later node": (_node(args=[{"node": "fc"}]), "later"),
    "a name of a node that is code": (_node(name="x; import os"), "name"),
    "a keyword as a node's name": (_node(name="class"), "not allowed"),
    "two nodes of one name": (_node(name="conv1"), "Two nodes"),
    "an unknown form of argument": (_node(args=[{"code": "1"}]), "damaged"),
    "two forms of one argument": (_node(args=[{"node": "x", "dtype": "float32"}]), "damaged"),
    "a name of an argument that is code": (_node(kwargs={"a=os.system": 1}), "kwargs"),
    "deep lists": (_node(args=[_nest(50)]), "nested deeper"),
    "very deep lists": (_node(args=[_nest(900)]), "nested deeper"),
    "a second input": (
        lambda d: d["nodes"].insert(
            1, {"name": "y", "op": "placeholder", "target": "y", "args": [1], "kwargs": {}, "path": ""}
        ),
        "damaged",
    ),
    "no nodes": (lambda d: _set(d, "nodes", value=[]), "one input"),
    "no output": (lambda d: d["nodes"].pop(), "one output"),
    "two outputs": (lambda d: d["nodes"].append({**d["nodes"][-1], "name": "output_1"}), "one output"),
    "very many nodes": (lambda d: _set(d, "nodes", value=[d["nodes"][0]] * 1_000_000), "at most 100000"),
    "very many modules": (
        lambda d: _set(d, "modules", value={f"m{number}": ["ReLU", {}] for number in range(100_001)}),
        "at most 100000",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_description_is_refused_by_name(what: str, small: dict[str, Any]) -> None:
    change, words = HOSTILE[what]
    description = copy.deepcopy(small)
    change(description)
    with pytest.raises(GraphError, match=words):
        graph_file.build(description)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"version": ' + "9" * 5000 + "}", "\xff"])
def test_a_file_that_holds_no_description_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_text(text, encoding="latin-1")
    with pytest.raises(GraphError, match=r"graph\.json"):
        graph_file.read(tmp_path / "graph.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "graph.json").open("wb") as file:
        file.truncate(graph_file.MAX_BYTES + 1)
    with pytest.raises(GraphError, match="larger than"):
        graph_file.read(tmp_path / "graph.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("fc.bias"), r"lack fc\.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "hold extra too"),
        (lambda state: state.update({"fc.bias": torch.zeros(8)}), r"shapes or types.*fc\.bias"),
        (lambda state: state.update({"fc.bias": torch.zeros(7).half()}), r"shapes or types.*fc\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    change: Callable[[dict[str, torch.Tensor]], object], words: str, small: dict[str, Any]
) -> None:
    network, _ = graph_network("resnet18", num_classes=7)
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(GraphError, match=words):
        graph_file.load(small, state)


def test_names_of_the_lists_say_what_they_are() -> None:
    for name, function in FUNCTIONS.items():
        value: Any = {"torch": torch, "operator": __import__("operator")}[name.split(".")[0]]
        for part in name.split(".")[1:]:
            value = getattr(value, part)
        assert value is function
    assert list(MODULES) == sorted(MODULES)
