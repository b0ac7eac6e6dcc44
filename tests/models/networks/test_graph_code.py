"""Python source of networks: it gives the same bits as the network, with torch alone."""

from __future__ import annotations

import builtins
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from models.networks.graph_code import write_source
from models.networks.graph_copy import GraphError
from models.networks.graph_file import describe
from tests.support.graphs import SIZE, graph_network
from tests.support.networks import given

if TYPE_CHECKING:
    from pathlib import Path


def run_source(source: str, *allowed: str) -> dict[str, Any]:
    """Run source that can import nothing but torch and what else is allowed."""

    def import_torch(name: str, *arguments: Any, **keywords: Any) -> Any:
        assert name.split(".")[0] in ("torch", *allowed), f"the source imports {name}"
        return builtins.__import__(name, *arguments, **keywords)

    namespace = {"__builtins__": {**vars(builtins), "__import__": import_torch}, "__name__": "delivered"}
    exec(compile(source, "delivered.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}),
        ("mobilenetv3_small_050", {}),
        ("convnext_atto", {}),
    ],
)
def test_the_source_of_a_network_gives_the_same_bits(name: str, arguments: dict[str, object], tmp_path: Path) -> None:
    network, whole = graph_network(name, num_classes=7, **arguments)
    source = write_source(json.loads(json.dumps(describe(network))))
    save_file(network.state_dict(), tmp_path / "checkpoint.safetensors")
    alone = run_source(source)["Network"]()
    alone.load_state_dict(network.state_dict())
    loaded = run_source(source, "safetensors")["load"](str(tmp_path / "checkpoint.safetensors"))
    with torch.no_grad():
        assert torch.equal(alone.eval()(given(SIZE, 3)), whole(given(SIZE, 3)))
        assert torch.equal(loaded(given(SIZE, 3)), whole(given(SIZE, 3)))


def description(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Describe a network of these nodes between the input and the output, which is the last of them."""
    full: list[dict[str, Any]] = [
        {"name": "x", "op": "placeholder", "target": "x", "args": [], "kwargs": {}, "path": "x"}
    ]
    full += [{"op": "call_function", "kwargs": {}, "path": "a", **node} for node in nodes]
    output = {"op": "output", "target": "output", "args": [{"node": nodes[-1]["name"]}]}
    full.append({"name": "output", "kwargs": {}, "path": "a", **output})
    return {"version": 1, "modules": {}, "parameters": {}, "buffers": {}, "nodes": full}


def test_arguments_of_all_kinds_are_written() -> None:
    x: dict[str, Any] = {"node": "x"}
    source = write_source(
        description(
            {"name": "nn", "target": "torch.Tensor.to", "args": [x, {"dtype": "float64"}]},
            {
                "name": "part",
                "target": "operator.getitem",
                "args": [{"node": "nn"}, {"tuple": [{"ellipsis": True}, {"slice": [1, None, 2]}]}],
            },
            {
                "name": "low",
                "target": "torch.clamp",
                "args": [{"node": "part"}, {"float": "-inf"}],
                "kwargs": {"max": 0.5},
            },
            {"name": "power", "target": "operator.pow", "args": [{"node": "low"}, -2]},
            {"name": "end", "target": "torch.cat", "args": [[{"node": "power"}, {"node": "low"}], 1]},
        )
    )
    images = torch.rand(2, 3, 4, 6)
    low = images.double()[..., 1::2].clamp(max=0.5)
    assert torch.equal(run_source(source)["Network"]()(images), torch.cat([low**-2, low], 1))


def test_values_are_freed_when_nothing_needs_them() -> None:
    network, _ = graph_network("resnet18", num_classes=7)
    source = write_source(describe(network))
    lines = [line.strip() for line in source.splitlines()]
    freed = [name for line in lines if line.startswith("del ") for name in line.removeprefix("del ").split(", ")]
    assert len(freed) == len(set(freed)) == len(network.graph.nodes) - 2, "all but the result"


@pytest.mark.parametrize("text", ['"); import os; os.system("touch /tmp/x")  #', "'''\nimport os\n", "\\"])
def test_texts_of_a_description_cannot_leave_their_quotes(text: str) -> None:
    nodes = {"name": "end", "target": "torch.nn.functional.pad", "args": [{"node": "x"}, [0, 0], text]}
    with pytest.raises(NotImplementedError):
        run_source(write_source(description(nodes)))["Network"]()(torch.rand(1, 3, 4, 4))


def test_an_operator_with_wrong_arguments_is_refused() -> None:
    with pytest.raises(GraphError, match=r"operator\.add with arguments"):
        write_source(description({"name": "end", "target": "operator.add", "args": [{"node": "x"}]}))
