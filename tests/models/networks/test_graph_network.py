"""Networks as graphs: against the networks that they were traced from, to the bit."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch import fx, nn

from models.catalog.cuts import Top
from models.networks.candidate_cuts import inspect, list_candidate_cuts
from models.networks.cut_network import cut_at
from models.networks.feature_network import copy_modules, cut_before_classifier
from models.networks.graph_copy import GraphError, clean_name
from models.networks.graph_network import GraphNetwork
from models.networks.tracing import trace
from tests.support.graphs import SIZE, from_network, graph_network
from tests.support.networks import given

NETWORKS: dict[str, dict[str, object]] = {
    "resnet18": {"num_classes": 7},
    "vit_tiny_patch16_224": {"num_classes": 7, "img_size": 64, "depth": 3},
    "mobilenetv3_small_050": {"num_classes": 7},
    "convnext_atto": {"num_classes": 7},
    "deit_tiny_distilled_patch16_224": {"num_classes": 7, "img_size": 64, "depth": 3},
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_traced_network_computes_the_same_as_a_graph(name: str) -> None:
    graph, whole = graph_network(name, **NETWORKS[name])
    assert torch.equal(graph(given(SIZE, 3)), whole(given(SIZE, 3)))
    assert graph.num_classes == 7
    shared = {id(parameter) for parameter in whole.parameters()}
    assert {id(parameter) for parameter in graph.parameters()} <= shared


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_cut_of_a_graph_gives_the_uncut_networks_output(name: str) -> None:
    graph, whole = graph_network(name, **NETWORKS[name])
    expected = whole(given(SIZE))
    traced = trace(graph).fold_sizes(given(SIZE, 1))
    cuts = traced.find_cuts()
    assert len(cuts) > 10
    for cut in cuts:
        trunk, top = traced.build_trunk(cut), traced.build_top(cut, traced.output)
        assert torch.equal(top(trunk(given(SIZE))), expected), traced.paths[cut]


def test_a_graph_has_the_stages_and_the_cuts_of_its_network() -> None:
    graph, whole = graph_network("resnet18", num_classes=7)
    assert inspect(graph, SIZE) == inspect(whole, SIZE)


def test_a_graph_network_is_copied_with_shared_tensors() -> None:
    graph, _ = graph_network("resnet18", num_classes=7)
    copied = copy_modules(graph)
    copied.reset_classifier(3)
    assert copied.num_classes == 3
    assert graph.num_classes == 7
    assert copied.get_submodule("conv1").weight is graph.get_submodule("conv1").weight


@torch.no_grad()
def test_a_graph_is_cut_before_its_classifier_and_gets_a_new_one() -> None:
    graph, whole = graph_network("resnet18", num_classes=7)
    mine, own = (cut_before_classifier(net, SIZE, {"architecture": "graph"}) for net in (graph, whole))
    assert torch.equal(mine.trunk(given(SIZE)), own.trunk(given(SIZE)))
    weight, bias = torch.randn(4, mine.num_features), torch.randn(4)
    for feature_network in (mine, own):
        feature_network.classifier.set_weights(weight, bias)
    assert torch.equal(mine.network(given(SIZE)), own.network(given(SIZE)))
    assert mine.network.num_classes == 4


def test_unfrozen_stages_of_a_graph_learn_and_their_batchnorm_too() -> None:
    graph, _ = graph_network("resnet18", num_classes=7)
    cut = cut_at(cut_before_classifier(graph, SIZE, {}), Top(stages=1))
    cut.set_modes(1, norms_train=True)
    assert cut.trunk is not None
    before = graph.get_submodule("layer4.1.bn2").running_mean.clone()
    cut.top(cut.trunk(given(SIZE))).sum().backward()
    stage = cut.stages[0]
    assert stage.name == "layer4"
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in stage.parameters.values()
    )
    assert not torch.equal(graph.get_submodule("layer4.1.bn2").running_mean, before)
    assert graph.get_submodule("layer3.1.conv2").weight.grad is None


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_network_without_classifier_gets_one_on_its_features(name: str) -> None:
    graph, whole = graph_network(name, **{**NETWORKS[name], "num_classes": 0})
    assert graph.num_classes == 0
    assert isinstance(graph.get_classifier(), nn.Identity)
    feature_network = cut_before_classifier(graph, SIZE, {})
    with torch.no_grad():
        assert torch.equal(feature_network.trunk(given(SIZE)), whole(given(SIZE)))
    assert graph.num_classes == 0, "the argument stays as it is"
    assert "classifier" in dict(feature_network.network.named_modules())
    assert list_candidate_cuts(feature_network)[-1].name == feature_network.cut


class Tower(nn.Module):
    """Ends in what resembles a classifier: a linear layer and an activation, or residual blocks of linear layers."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.end = end
        self.stem, self.first, self.second = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.stem(x).mean((2, 3)))
        end: torch.Tensor = torch.tanh(self.second(x)) if self.end == "tanh" else x + self.second(x.relu())
        return end


@pytest.mark.parametrize("end", ["tanh", "residual"])
def test_what_only_resembles_a_classifier_is_none(end: str) -> None:
    whole = Tower(end).eval()
    graph = from_network(whole)
    assert graph.num_classes == 0
    with torch.no_grad():
        assert torch.equal(cut_before_classifier(graph, SIZE, {}).trunk(given(SIZE)), whole(given(SIZE)))


class Odd(nn.Module):
    """Has names that a module of a graph cannot have, a sequence that is called whole, and sums in place."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = nn.Conv2d(3, 4, 8, 8)
        self.add_module("class", nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
        self.add_module("a-b__c", nn.Conv2d(4, 4, 1))
        self.scale = nn.Parameter(torch.full((4, 1, 1), 0.5))
        self.register_buffer("offset", torch.arange(4.0).view(4, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = getattr(self, "class")(self.graph(x))
        x = getattr(self, "a-b__c")(x)
        x = x * self.scale
        x += self.offset
        logits: torch.Tensor = self.fc(x.view(x.shape[0], x.size(1), -1).amax(-1))
        return logits


class WholeSequences(fx.Tracer):
    """A tracer for which nn.Sequential is one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


@torch.no_grad()
def test_names_sequences_methods_and_sums_in_place_are_written_in_one_way() -> None:
    whole = Odd().eval()
    graph = GraphNetwork.from_graph(whole, WholeSequences().trace(whole), {"fc": "the.end"})
    assert torch.equal(graph(given(SIZE, 3)), whole(given(SIZE, 3)))
    assert {node.op for node in graph.graph.nodes} == {
        "placeholder",
        "get_attr",
        "call_module",
        "call_function",
        "output",
    }
    assert operator.iadd not in {node.target for node in graph.graph.nodes}
    assert set(graph.state_dict()) >= {"graph_.weight", "class_.0.weight", "a_b_c.bias", "scale", "offset", "fc.bias"}
    assert graph.paths["fc"] == "the.end"
    again = GraphNetwork.from_graph(graph, graph.graph, graph.paths)
    assert set(again.state_dict()) == set(graph.state_dict())
    assert again.paths == graph.paths


@pytest.mark.parametrize(
    "name", ["layer1", "0", "class", "graph", "forward", "_parameters", "__class__", "a.b", "ü", ""]
)
def test_a_clean_name_stays_and_can_be_a_modules(name: str) -> None:
    cleaned = clean_name(name)
    assert clean_name(cleaned) == cleaned
    assert "__" not in cleaned
    parent = fx.GraphModule(nn.Module(), fx.Graph())
    parent.add_module(cleaned, nn.Identity())
    assert name not in ("layer1", "0") or cleaned == name


class Unlisted(nn.Module):
    """Calls something that is not in the list."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.odd = nn.LSTM(4, 4)
        self.conv = nn.Conv2d(3, 4, 8)

    def forward(self, x: torch.Tensor) -> Any:
        if self.what == "module":
            return self.odd(x)
        if self.what == "function":
            return torch.fft.fft2(x)
        if self.what == "method":
            return x.lgamma()
        return (x, self.conv(x)) if self.what == "two outputs" else self.conv(x, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("module", "'odd' is a LSTM"),
        ("function", "calls 'fft_fft2'"),
        ("method", "calls 'lgamma'"),
        ("two outputs", "one tensor, not several"),
        ("device", "of the type device"),
    ],
)
def test_what_is_not_in_the_lists_is_refused_by_name(what: str, words: str) -> None:
    whole = Unlisted(what).eval()
    graph = fx.Tracer().trace(whole)
    with pytest.raises(GraphError, match=words):
        GraphNetwork.from_graph(whole, graph, {})


def test_the_graph_needs_one_input() -> None:
    graph = fx.Graph()
    first, second = graph.placeholder("a"), graph.placeholder("b")
    graph.output(graph.call_function(torch.add, (first, second)))
    with pytest.raises(GraphError, match="one input, the images"):
        GraphNetwork.from_graph(nn.Module(), graph, {})
