"""Inspect a backbone in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from models.backbones.errors import BackboneError
from models.networks.candidate_cuts import inspect
from models.networks.tracing import SurgeryError
from models.runtime import devices
from workers.entrypoints.listing import describe
from workers.work.inspection import Inspected, InspectionOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.runtime.supervisor_callbacks import Context


def work(order: InspectionOrder, context: Context) -> Iterator[Inspected]:
    """Find the backbone's cuts and their costs."""
    try:
        config = backbones.read_config(order.name, order.backbones, order.folder)
        with devices.translate_errors():
            inspection = inspect(config.build_without_weights(), config.preprocessing.input_size)
    except (BackboneError, SurgeryError) as error:
        yield Inspected(error={"code": error.code, "message": str(error)})
        return
    yield Inspected(listed=describe(config.summarize(inspection["parameters"])), inspection=inspection)
