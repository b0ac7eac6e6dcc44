"""Read Keras's weights alone, of an architecture that the user names from a closed list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.catalog.preprocessing import GivenPreprocessing
from models.conversion.converted import PreprocessingFacts
from models.conversion.keras import weights_only
from models.conversion.keras.applications import APPLICATIONS, find_application
from models.importers.errors import ImportRejected
from models.importers.reader import ReadNetwork

if TYPE_CHECKING:
    from models.conversion.keras.applications import Application
    from models.importers.request import ImportRequest


def read(request: ImportRequest) -> ReadNetwork:
    """Read the upload; its architecture's usual preprocessing is proposed where the network does not hold it.

    Raises ImportRejected, ConversionError.
    """
    application = _find_architecture(request)
    given = request.preprocessing
    size = given.input_size if isinstance(given, GivenPreprocessing) else None
    converted = weights_only.read(request.file, application, size)
    return ReadNetwork(
        network=converted.network,
        architecture="graph",
        route="Weights of Keras, placed into the architecture as Keras defines it",
        input_size=converted.input_size,
        facts=converted.preprocessing if application.scales_inside else PreprocessingFacts(),
        original=converted.original,
        has_softmax=converted.has_softmax,
        notes=converted.notes,
        matched=len(list(converted.network.parameters())) + len(list(converted.network.buffers())),
        proposed=replace(converted.preprocessing, input_size=converted.input_size),
        proposed_because="; ".join(converted.preprocessing.evidence),
    )


def _find_architecture(request: ImportRequest) -> Application:
    """Find the architecture that the user names."""
    names = ", ".join(application.name for application in APPLICATIONS)
    shown = request.name or request.file.name
    if request.architecture is None:
        raise ImportRejected(
            "architecture_needed",
            f"{shown} holds weights alone, which do not say what network they are of. Name its architecture, one of "
            f"{names}. {weights_only.SEND_WHOLE}",
        )
    application = find_application(request.architecture)
    if application is None:
        raise ImportRejected(
            "architecture_unknown",
            f"Weights of {request.architecture[:100]!r} alone are not taken: such files fit networks that differ "
            f"in what no file says, and give wrong results. They are taken of {names}. {weights_only.SEND_WHOLE}",
        )
    return application
