"""A network that is an fx graph of torch.nn modules and torch functions: what backbones of any origin become.

Its modules and functions are those of closed lists (graph_operations), so that it can be written to a file, built
again without the code that it came from, and delivered as Python source that imports torch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from models.networks.graph_copy import GraphCopy, find_inputs
from models.networks.graph_operations import FUNCTION_NAMES, FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


LINEAR = (nn.Linear, nn.Conv2d)
AFFINE_MODULES = (nn.Identity, nn.Dropout, nn.Flatten, nn.Unflatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
AFFINE_FUNCTIONS = {
    FUNCTIONS[name]
    for name in (
        *("operator.add", "operator.sub", "operator.mul", "operator.truediv", "operator.getitem", "torch.add"),
        *("torch.sub", "torch.mul", "torch.div", "torch.flatten", "torch.mean", "torch.permute", "torch.reshape"),
        *("torch.select", "torch.squeeze", "torch.stack", "torch.sum", "torch.transpose", "torch.unsqueeze"),
        *("torch.Tensor.flatten", "torch.Tensor.mean", "torch.Tensor.permute", "torch.Tensor.reshape"),
        *("torch.Tensor.squeeze", "torch.Tensor.sum", "torch.Tensor.transpose", "torch.Tensor.view"),
        *("torch.Tensor.contiguous", "torch.nn.functional.adaptive_avg_pool2d", "torch.nn.functional.avg_pool2d"),
    )
}
"""Functions that may lie between a classifier's layers and the logits: these stay linear in the layers' outputs."""


class GraphNetwork(nn.Module):
    """A network of torch.nn modules and an fx graph: images (B, 3, H, W) → logits (B, C), or features (B, D)."""

    graph: fx.Graph
    """Placeholders, attributes, calls of modules and functions, and one output."""
    paths: dict[str, str]
    """Where each value lies in the network's structure, by the names of the graph's nodes; for stages and cuts."""

    @classmethod
    def from_graph(cls, root: nn.Module, graph: fx.Graph, paths: Mapping[str, str]) -> GraphNetwork:
        """Build a network of what a graph uses of `root`, whose modules and tensors it shares.

        Names that a module cannot have are changed; nn.Sequential, calls of methods and `x += y` are written in full;
        values that nothing needs, and assertions, are left out. Raises GraphError.
        """
        network = cls()
        copied = GraphCopy(root, graph, paths, network)
        copied.copy()
        network.graph, network.paths, network.training = copied.graph, copied.paths, root.training
        return network

    def simplify(self) -> GraphNetwork:
        """Build the network anew, as `from_graph` does, after its modules or its graph have been changed."""
        return GraphNetwork.from_graph(self, self.graph, self.paths)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run the graph."""
        interpreter = fx.Interpreter(self, graph=self.graph)
        interpreter.extra_traceback = False
        output: torch.Tensor = interpreter.run(images)
        return output

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the network has no classifier, but gives features."""
        layers = self.find_output_layers()
        return next(self.get_submodule(layers[0]).parameters()).shape[0] if layers else 0

    def get_classifier(self) -> nn.Module:
        """Get the layer that gives the logits; several as a ModuleList, none as Identity."""
        layers = [self.get_submodule(path) for path in self.find_output_layers()]
        if len(layers) == 1:
            return layers[0]
        return nn.ModuleList(layers) if layers else nn.Identity()

    def reset_classifier(self, num_classes: int) -> None:
        """Give the network a new classifier: in place of its own, or on its features if it has none."""
        paths = self.find_output_layers()
        for path in paths:
            self.set_submodule(path, _renew(self.get_submodule(path), num_classes))
        if paths:
            return
        end = next(iter(reversed(self.graph.nodes)))
        (features,) = end.all_input_nodes
        path = "classifier"
        while hasattr(self, path):
            path += "_"
        device = next(self.parameters()).device
        self.add_module(path, nn.LazyLinear(num_classes, device=device))  # how many features, its first run tells
        with self.graph.inserting_before(end):
            logits = self.graph.call_module(path, (features,))
        end.args = (logits,)
        self.paths[logits.name] = path

    def find_output_layers(self) -> list[str]:
        """Find the paths of the linear layers that give the logits, by the graph alone.

        None, if something else than linear operations lies between them and the output, or if one reads another's
        output, as in the residual blocks of a network without classifier.
        """
        found: list[fx.Node] = []
        waiting = list(next(iter(reversed(self.graph.nodes))).all_input_nodes)
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            module = self.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(module, LINEAR):
                found.append(node)
                continue
            if node.op == "placeholder" or not _is_affine(node, module):
                return []
            new = [parent for parent in node.all_input_nodes if parent not in seen and parent.op != "get_attr"]
            seen.update(new)
            waiting += new
        is_classifier = all(_is_pointwise(self.get_submodule(str(node.target))) for node in found)
        if not is_classifier or any(other in find_inputs(node) for node in found for other in found):
            return []
        return list(dict.fromkeys(str(node.target) for node in sorted(found)))


def _is_affine(node: fx.Node, module: nn.Module | None) -> bool:
    """Tell whether a node is linear in the one value, or in the sum of values, that it reads."""
    if module is not None:
        return isinstance(module, AFFINE_MODULES)
    computed = [parent for parent in node.all_input_nodes if parent.op != "get_attr"]
    is_product = node.op == "call_function" and FUNCTION_NAMES.get(node.target, "").endswith(("mul", "div"))
    return node.op == "call_function" and node.target in AFFINE_FUNCTIONS and not (is_product and len(computed) > 1)


def _is_pointwise(module: nn.Module) -> bool:
    is_convolution = isinstance(module, nn.Conv2d)
    return module.bias is not None and not (is_convolution and (module.kernel_size != (1, 1) or module.groups != 1))


def _renew(layer: nn.Module, num_classes: int) -> nn.Module:
    device = next(layer.parameters()).device
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(layer.in_channels, num_classes, 1, device=device)
    assert isinstance(layer, nn.Linear)
    return nn.Linear(layer.in_features, num_classes, device=device)
