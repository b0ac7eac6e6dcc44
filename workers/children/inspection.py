"""What the child of a backbone does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from models.backbones.errors import BackboneError
from models.errors import code
from models.graph import SurgeryError
from models.inspection import inspect
from workers.backbones import Inspected, InspectionOrder, Listed

if TYPE_CHECKING:
    from collections.abc import Iterator


def work(order: InspectionOrder) -> Iterator[Inspected]:
    """Find the backbone's cuts and their costs."""
    try:
        said = backbones.blueprint(order.name, order.backbones)
        found = inspect(said.outline(), said.preprocessing.input_size)
    except (BackboneError, SurgeryError) as error:
        yield Inspected(error={"code": code(error), "message": str(error)})
        return
    yield Inspected(listed=Listed.of(said.listing(found["parameters"])), inspection=found)
