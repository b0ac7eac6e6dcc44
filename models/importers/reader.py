"""The interface of readers: what each gives for an upload, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from models.conversion.converted import OriginalRuntime, PreprocessingFacts
    from models.importers.request import ImportRequest
    from models.networks.types import TimmNetwork


@dataclass(frozen=True)
class ReadNetwork:
    """A network with its weights, and what its file says of it.

    `models.backbones` must build the same network from architecture, model_args, num_classes and, for graphs, from
    graph.json, which the import writes.
    """

    network: TimmNetwork
    """(B, 3, H, W) float32 → logits (B, C), or features (B, D) without a classifier; all weights loaded, strictly."""
    architecture: str
    """"graph", "torchvision/NAME" or timm's name without its tag."""
    route: str
    """How the file was read: the reader, and the libraries on the way."""
    input_size: tuple[int, int, int]
    facts: PreprocessingFacts
    """What the file says of preprocessing; None where it is silent."""
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained_cfg: dict[str, Any] = field(default_factory=dict)
    """Further entries of timm's configuration (fixed_input_size, classifier, first_conv …), without preprocessing."""
    original: OriginalRuntime | None = None
    has_softmax: bool = False
    is_quantized: bool = False
    labels: list[str] | None = None
    licence: str | None = None
    notes: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    matched: int = 0
    left: list[str] = field(default_factory=list)
    proposed: PreprocessingFacts | None = None
    """What networks of this architecture usually take; proposed to the user, never taken in silence."""
    proposed_because: str | None = None


class Reader(Protocol):
    """A module of this package that reads one format; it is imported when a file of that format comes."""

    def read(self, request: ImportRequest) -> ReadNetwork:
        """Read the upload.

        Raises ImportRejected or ConversionError with a message that says what is wrong and what to export instead.
        """
        ...
