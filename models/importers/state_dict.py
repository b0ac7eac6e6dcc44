"""Read weights (safetensors, or a .pth of tensors alone) strictly into the architecture that the user names."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import timm

from models.backbones import architectures, torchvision_networks
from models.backbones.fingerprints import find_architectures
from models.backbones.state_dicts import POSITIONS, add_counters, explain_difference, list_shapes, to_float32
from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected
from models.importers.named_architecture import NamedArchitecture, find_architecture
from models.importers.reader import ReadNetwork
from models.importers.weights import read_weights, strip_prefixes
from models.networks.construction import limit_construction
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from models.importers.request import ImportRequest
    from models.importers.weights import FileWeights
    from models.networks.types import TimmNetwork

MOST_NAMED = 8
HIDDEN_DIFFERENCES = (
    "Nothing in the file tells them apart, though they may differ in padding, in epsilon or in strides: send `samples` "
    "to be sure of the accuracy, or name the one that the weights were trained in."
)


def read(request: ImportRequest) -> ReadNetwork:
    """Read weights into the named architecture; raises ImportRejected."""
    name = request.name or request.file.name
    weights = read_weights(request.file, name)
    if request.architecture is None:
        raise _ask_for_architecture(weights, name)
    return place(weights, find_architecture(request.architecture), {}, name)


def place(weights: FileWeights, named: NamedArchitecture, model_args: dict[str, Any], name: str) -> ReadNetwork:
    """Place weights into an architecture, each tensor in its own place; raises ImportRejected."""
    prefix, state = _choose_prefix(weights.state, named, model_args)
    left = [key for key in weights.state if not key.startswith(prefix)]
    num_classes = _count_classes(state, named)
    arguments = {**_get_arguments(named, state, num_classes, model_args), **model_args}
    network, notes = _load(named, num_classes, arguments, state, name)
    notes = [*weights.notes, *notes]
    if prefix:
        notes.append(f"The names were read without their prefix {prefix!r}.")
    if left:
        notes.append(f"{len(left)} tensors outside of {prefix!r} are no part of the network and were left.")
    if num_classes == 0:
        notes.append("The file has no classifier: the backbone has none of its own.")
    notes += _list_twins(named, state)
    side = _get_side(arguments, named)
    published = named.preprocessing
    return ReadNetwork(
        network=network,
        architecture=named.name,
        route=f"weights, strictly into {architectures.name_library(named.name)}'s {named.name}",
        input_size=(3, side, side),
        facts=published if named.has_tag else PreprocessingFacts(),
        model_args=arguments,
        pretrained_cfg={"fixed_input_size": bool(named.cfg.get("fixed_input_size"))},
        licence=named.cfg.get("license") if named.has_tag else None,
        notes=notes,
        matched=len(as_module(network).state_dict()),
        left=left,
        proposed=None if named.has_tag else published,
        proposed_because=f"The published weights of {named.name} take it.",
    )


def _choose_prefix(
    state: Mapping[str, torch.Tensor], named: NamedArchitecture, model_args: dict[str, Any]
) -> tuple[str, dict[str, torch.Tensor]]:
    """Choose the prefix without which most names are the architecture's own."""
    own = _build(named, 1, model_args).state_dict().keys()
    variants = list(strip_prefixes(state))
    return max(variants, key=lambda variant: (len(own & variant[1].keys()), -len(variant[0])))


def _count_classes(state: Mapping[str, torch.Tensor], named: NamedArchitecture) -> int:
    """Count the classes of the file's classifier; 0 if it has none."""
    for path in named.classifiers:
        weight = state.get(f"{path}.weight", state.get(f"{path}.fc.weight"))
        if weight is not None:
            return int(weight.shape[0])
    return 0


def _get_arguments(
    named: NamedArchitecture, state: Mapping[str, torch.Tensor], num_classes: int, given: dict[str, Any]
) -> dict[str, Any]:
    """Get the arguments by which the architecture is built: those of pretrained ones, and the size of its images."""
    if architectures.is_torchvision(named.name):
        arguments = torchvision_networks.get_pretrained_arguments(named.name)
        key, default = "encoder.pos_embedding", arguments
    else:
        key, default = POSITIONS, {}
    if not named.cfg.get("fixed_input_size"):
        return default
    side = _infer_side(named, state.get(key), key, given) or named.side
    return {**default, **architectures.get_size_arguments(named.name, [side, side])}


def _infer_side(
    named: NamedArchitecture, positions: torch.Tensor | None, key: str, given: dict[str, Any]
) -> int | None:
    """Infer the side of the images from the number of positions that the file has learned; None if it says nothing."""
    own = _build(named, 1, given).state_dict().get(key)
    if positions is None or own is None or positions.ndim != 3 or positions.shape == own.shape:
        return None
    side = named.side
    for extra in (0, 1, 2, 5):  # tokens of the class, of distillation and registers
        grid, own_grid = (math.isqrt(max(0, count.shape[1] - extra)) for count in (positions, own))
        if grid**2 == positions.shape[1] - extra and own_grid**2 == own.shape[1] - extra and side % own_grid == 0:
            return grid * (side // own_grid)
    return None


def _get_side(arguments: Mapping[str, Any], named: NamedArchitecture) -> int:
    for key in ("img_size", "image_size", "input_size"):
        if key in arguments:
            value = arguments[key]
            return int(value if isinstance(value, int) else value[0])
    return named.side


def _build(named: NamedArchitecture, num_classes: int, arguments: dict[str, Any]) -> TimmNetwork:
    try:
        with limit_construction():
            return architectures.build(named.name, num_classes=num_classes, **arguments)
    except Exception as error:  # a library builds what it is told, and any operation of it may raise
        raise ImportRejected(
            "architecture_unbuildable",
            f"{named.name} cannot be built with {arguments}: {error}. Correct the arguments.",
        ) from error


def _load(
    named: NamedArchitecture, num_classes: int, arguments: dict[str, Any], state: dict[str, torch.Tensor], name: str
) -> tuple[TimmNetwork, list[str]]:
    """Build the network and load the weights; returns notes on what was changed."""
    if architectures.is_torchvision(named.name):
        return _load_torchvision(named, num_classes, arguments, state, name)
    needed = list_shapes(_build(named, num_classes, arguments).state_dict())
    fitting = add_counters(to_float32(state), needed)
    difference, notes = explain_difference(list_shapes(fitting), needed), []
    if difference is not None:
        renamed = _rename_as_timm(named, num_classes, arguments, fitting)
        if renamed is None or explain_difference(list_shapes(renamed), needed) is not None:
            raise _refuse(named, state, difference, name)
        fitting, notes = renamed, ["The names are those of the network's authors; timm's own filter has renamed them."]
    network: TimmNetwork = timm.create_model(named.name, num_classes=num_classes, **arguments)
    as_module(network).load_state_dict(fitting)
    return network, notes


def _load_torchvision(
    named: NamedArchitecture, num_classes: int, arguments: dict[str, Any], state: dict[str, torch.Tensor], name: str
) -> tuple[TimmNetwork, list[str]]:
    notes = []
    if arguments.get("transform_input"):
        notes.append(
            "As torchvision's published weights are, the network is built with transform_input=True: its images are "
            "normalized by ImageNet's mean. Weights that were trained without it need other preprocessing."
        )
    try:
        network = torchvision_networks.load(named.name, num_classes, arguments, state)
    except torchvision_networks.StateUnfit as error:
        raise _refuse(named, state, str(error), name) from error
    replaced = getattr(network, "replaced", ())
    if replaced:
        notes.append(
            f"A linear layer with a bias takes the place of {', '.join(replaced)}, as in every {named.name} here: the "
            "file's network ends otherwise. Its weights are the file's."
        )
    return network, notes


def _rename_as_timm(
    named: NamedArchitecture, num_classes: int, arguments: dict[str, Any], state: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor] | None:
    """Rename the tensors of the network's authors as timm does; None where it cannot, or would change their shapes."""
    module = sys.modules[timm.model_entrypoint(named.name).__module__]
    rename = getattr(module, "checkpoint_filter_fn", None)
    if rename is None:
        return None
    try:
        renamed = rename(dict(state), _build(named, num_classes, arguments))
    except Exception:  # timm's filters expect what their authors saved, and raise anything elsewhere
        return None
    given = {tensor.numel() for tensor in state.values()}
    # Positions that timm interpolates to another size would no longer be the file's.
    resized = [key for key, value in renamed.items() if key.endswith(POSITIONS) and value.numel() not in given]
    return None if resized else add_counters(to_float32(renamed), _build(named, num_classes, arguments).state_dict())


def _refuse(named: NamedArchitecture, state: Mapping[str, torch.Tensor], difference: str, name: str) -> ImportRejected:
    fitting = [one for one in find_architectures(list_shapes(state)) if one != named.name]
    advice = (
        f"Just these names and shapes has {' or '.join(fitting[:MOST_NAMED])}: name it."
        if fitting
        else "Name the architecture that the weights were trained in, or export the whole network as ONNX."
    )
    return ImportRejected("weights_unfit", f"The weights of {name} do not fit {named.name}: {difference}. {advice}")


def _ask_for_architecture(weights: FileWeights, name: str) -> ImportRejected:
    """Ask for the architecture of weights, with those that have just their names and shapes."""
    fitting = _find_under_prefixes(weights.state)
    if fitting:
        more = f", and {len(fitting) - MOST_NAMED} more" if len(fitting) > MOST_NAMED else ""
        advice = f"Just these names and shapes has {', '.join(fitting[:MOST_NAMED])}{more}. Name one as `architecture`."
        advice += f" {HIDDEN_DIFFERENCES}" if len(fitting) > 1 else ""
    else:
        advice = (
            "None of timm's and torchvision's has just these. Name the architecture that they were trained in as "
            "`architecture`, or export the whole network as ONNX."
        )
    shown = ", ".join(list(weights.state)[:3])
    return ImportRejected(
        "architecture_needed", f"{name} holds weights alone ({len(weights.state)} tensors: {shown} …). {advice}"
    )


def _find_under_prefixes(state: Mapping[str, torch.Tensor]) -> list[str]:
    for _, variant in strip_prefixes(state):
        found = find_architectures(list_shapes(variant))
        if found:
            return found
    return []


def _list_twins(named: NamedArchitecture, state: Mapping[str, torch.Tensor]) -> list[str]:
    """Name the other architectures that have the same names and shapes."""
    twins = [other for other in find_architectures(list_shapes(state)) if other != named.name]
    if not twins:
        return []
    more = f" and {len(twins) - MOST_NAMED} more" if len(twins) > MOST_NAMED else ""
    return [
        f"{', '.join(twins[:MOST_NAMED])}{more} have the same names and shapes; {named.name} was named, and taken. "
        f"{HIDDEN_DIFFERENCES}"
    ]
