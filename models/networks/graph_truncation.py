"""Drop the top stages of a graph network, by leaving their values out of its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from models.catalog.cuts import CandidateCut, assign_stages
from models.networks.candidate_cuts import inspect
from models.networks.cut_network import CutUnsupported
from models.networks.graph_network import GraphNetwork
from models.networks.output_layers import can_be_output
from models.networks.tracing import TracedNetwork, trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def drop_from_graph(
    network: GraphNetwork, count: int, input_size: tuple[int, int, int]
) -> tuple[GraphNetwork, list[str]]:
    """Drop the top `count` stages and the layers between them and the classifier, which is replaced.

    Returns the network, and the stages and layers that are left out. Raises CutUnsupported.
    """
    traced = trace(network).fold_sizes(torch.zeros(1, *input_size))
    classifier = network.get_classifier()
    if not can_be_output(classifier):
        raise CutUnsupported("drop_stages needs a backbone with one linear classifier; choose another, or drop none.")
    (end,) = traced.find_output_layers()
    cuts = [CandidateCut.from_dict(cut) for cut in inspect(network, input_size)["cuts"]]
    below = traced.find_below(end.all_input_nodes[0])
    places = {traced.paths[cut]: cut for cut in traced.find_cuts() if cut in below}
    cuts = [cut for cut in cuts if cut.name in places]
    stages = {stage: (places[start], places[stop]) for stage, start, stop in _find_top(cuts, count)}
    between = _find_between(traced, list(stages.values()), end)
    skipped = {stop: start for start, stop in stages.values()} | {node: _find_input(node) for node in between}
    shortened = _rebuild(traced.leave_out(skipped), network, input_size, list(stages))
    return shortened, [*stages, *(traced.paths[node] for node in between)]


def _find_top(cuts: Sequence[CandidateCut], count: int) -> Iterator[tuple[str, str, str]]:
    """Find the top `count` stages, each with the cut below it and the cut at its end."""
    owners = assign_stages(cuts)
    own = list(dict.fromkeys(owners))
    if len(own) <= count or owners.index(own[-count]) == 0:
        raise CutUnsupported(
            f"drop_stages is {count}; the top ones of this backbone's stages ({', '.join(own)}) cannot be dropped: "
            "drop fewer, or none."
        )
    for stage in own[-count:]:
        last = max(index for index, cut in enumerate(cuts) if cut.stage == stage)
        yield stage, cuts[owners.index(stage) - 1].name, cuts[last].name


def _find_between(traced: TracedNetwork, stages: Sequence[tuple[fx.Node, fx.Node]], end: fx.Node) -> list[fx.Node]:
    """Find what uses weights between the dropped stages, and between them and the classifier."""
    above = traced.find_below(end) - traced.find_below(stages[0][0]) - {end}
    for start, stop in stages:
        above -= traced.find_below(stop) - traced.find_below(start)
    calls = [node for node in traced.graph.nodes if node in above and node.op.startswith("call")]
    return [node for node in calls if traced.collect_parameters(_own(node))]


def _own(node: fx.Node) -> set[fx.Node]:
    """Collect a call and the attributes that it reads."""
    return {node, *(parent for parent in node.all_input_nodes if parent.op == "get_attr")}


def _find_input(node: fx.Node) -> fx.Node:
    computed = [parent for parent in node.all_input_nodes if parent.op != "get_attr"]
    return computed[0]


def _rebuild(
    traced: TracedNetwork, network: GraphNetwork, input_size: tuple[int, int, int], stages: Sequence[str]
) -> GraphNetwork:
    """Build the shortened network, with a classifier for the features that it has now."""
    paths = {node.name: path for node, path in traced.paths.items()}
    shortened = GraphNetwork.from_graph(network, traced.graph, paths)
    (path,) = shortened.find_output_layers()
    is_linear = isinstance(shortened.get_submodule(path), nn.Linear)
    shortened.set_submodule(path, nn.LazyLinear(1) if is_linear else nn.LazyConv2d(1, 1))
    advice = f"This backbone cannot do without {', '.join(stages)} ({{}}): drop none."
    try:
        output = shortened(torch.zeros(2, *input_size))
    except Exception as error:  # each operation has errors of its own
        raise CutUnsupported(advice.format(error)) from error
    if len(output) != 2:  # a reshape to a fixed number of features has mixed the images
        raise CutUnsupported(advice.format("its layers above are made for features of one shape"))
    return shortened.eval()
