"""What the child of a backbone does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from models.backbones.errors import BackboneError
from models.errors import code
from models.inspection import inspect
from models.surgery import SurgeryError
from workers.backbones import Inspected, InspectionOrder

if TYPE_CHECKING:
    from collections.abc import Iterator


def work(order: InspectionOrder) -> Iterator[Inspected]:
    """Find the backbone's cuts and their costs."""
    try:
        yield Inspected(inspection=inspect(*backbones.outline(order.name, order.backbones)))
    except (BackboneError, SurgeryError) as error:
        yield Inspected(error={"code": code(error), "message": str(error)})
