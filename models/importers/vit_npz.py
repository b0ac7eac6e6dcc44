"""Read a vision transformer's .npz of JAX (AugReg, big_vision) by timm's own reader, with every array in its place."""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import timm
import torch
from timm.models import vision_transformer

from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected
from models.importers.named_architecture import find_architecture
from models.importers.reader import ReadNetwork

if TYPE_CHECKING:
    from models.importers.named_architecture import NamedArchitecture
    from models.importers.request import ImportRequest
    from models.networks.types import TimmNetwork

    Shapes = dict[str, tuple[int, ...]]

WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
PREFIXES = ("opt/target/", "params/", "params/img/", "img/", "")
NOT_READ = ("opt/state/", "opt/step")
"""Beginnings of names of an optimizer's arrays."""


class _JaxReader(Protocol):
    def load_pretrained(self, checkpoint_path: str, prefix: str = ...) -> None:
        """Load a .npz; NumPy opens it without allow_pickle."""
        ...


def read(request: ImportRequest) -> ReadNetwork:
    """Read a vision transformer into the named architecture; raises ImportRejected."""
    name = request.name or request.file.name
    shapes = _list_arrays(request, name)
    prefix = next(one for one in PREFIXES if f"{one}embedding/kernel" in shapes or not one)
    own = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    own = {key: shape for key, shape in own.items() if not key.startswith(NOT_READ)}
    if "embedding/kernel" not in own:
        raise ImportRejected(
            "unsupported_model",
            f"{name} holds {', '.join(list(shapes)[:3])} …, which are not the arrays of a vision transformer of AugReg "
            "or big_vision. Send the network's weights as safetensors, or export it as ONNX.",
        )
    if request.architecture is None:
        raise ImportRejected(
            "architecture_needed",
            f"{name} holds the arrays of a vision transformer: name its `architecture`, {_propose(own)}.",
        )
    return _place(request, find_architecture(request.architecture), own, name)


def _list_arrays(request: ImportRequest, name: str) -> Shapes:
    try:
        with np.load(request.file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except ValueError as error:
        raise ImportRejected(
            "file_unsafe" if "pickle" in str(error) else "file_broken",
            f"{name} holds Python objects, or is damaged ({error}). Save it with numpy.savez, of arrays alone.",
        ) from error
    except Exception as error:  # of zipfile, zlib and NumPy
        raise ImportRejected("file_broken", f"{name} cannot be read ({error}). Copy it again.") from error
    return {key: array.shape for key, array in found.items()}


def _propose(own: Shapes) -> str:
    """Name the usual architecture of these widths."""
    patch, _, _, width = own["embedding/kernel"]
    kind = WIDTHS.get(width)
    return f"probably vit_{kind}_patch{patch}_224" if kind else "one of timm's vit_…"


def _place(request: ImportRequest, named: NamedArchitecture, own: Shapes, name: str) -> ReadNetwork:
    num_classes = own["head/kernel"][-1] if "head/kernel" in own else 0
    side = _infer_side(own, named)
    arguments: dict[str, Any] = {"img_size": [side, side]}
    module = import_module(timm.model_entrypoint(named.name).__module__) if timm.is_model(named.name) else None
    if module is not vision_transformer:
        raise ImportRejected(
            "weights_unfit", f"{name} is a vision transformer's, and {named.name} is none. Name {_propose(own)}."
        )
    network = timm.create_model(named.name, num_classes=num_classes, **arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
        try:
            cast("_JaxReader", network).load_pretrained(str(request.file))
        except Exception as error:  # timm's reader indexes what it expects
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ImportRejected(
                "weights_unfit", f"The arrays of {name} do not fit {named.name} ({reason}). Name {_propose(own)}."
            ) from error
    empty = [key for key, parameter in network.named_parameters() if parameter.isnan().any()]
    needed, given = sum(map(torch.numel, network.parameters())), sum(map(math.prod, own.values()))
    if empty or needed != given:
        unfilled = (
            f"{len(empty)} of its tensors get none, such as {', '.join(empty[:3])}" if empty else "all are filled"
        )
        raise ImportRejected(
            "weights_unfit",
            f"{name} holds {given:,} numbers, and {named.name} has {needed:,} ({unfilled}). Name {_propose(own)}, or "
            "another variant of it.",
        )
    published = named.preprocessing
    return ReadNetwork(
        network=cast("TimmNetwork", network),
        architecture=named.name,
        route=f"JAX's arrays, by timm's own reader into {named.name}",
        input_size=(3, side, side),
        facts=published if named.has_tag else PreprocessingFacts(),
        model_args=arguments,
        pretrained_cfg={"fixed_input_size": True},
        licence=named.cfg.get("license") if named.has_tag else None,
        notes=[] if num_classes else ["The file has no classifier: the backbone has none of its own."],
        matched=len(own),
        proposed=None if named.has_tag else published,
        proposed_because=f"The published weights of {named.name} take it.",
    )


def _infer_side(own: Shapes, named: NamedArchitecture) -> int:
    """Infer the side of the images from the number of positions, of which one may be the class's."""
    key = next((key for key in own if key.endswith(("posembed_input/pos_embedding", "pos_embedding"))), None)
    if key is None:
        return named.side
    count = own[key][1]
    grid = next(
        (math.isqrt(count - extra) for extra in (0, 1) if math.isqrt(count - extra) ** 2 == count - extra), None
    )
    return named.side if grid is None else grid * own["embedding/kernel"][0]
