"""Lists: `?limit=&after=` in, one page out."""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from service.errors import BadRequest

_NUMBERED = re.compile(r"(.+)\.(\d{1,18})", re.ASCII)


class PositionUnknown(BadRequest):
    """A place in a list that names something else than an item of it."""

    code = "position_unknown"


class Identified(BaseModel):
    """Anything with an id."""

    id: str


Item = TypeVar("Item", bound=Identified)

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page.")]
After = Annotated[str | None, Query(description="The `last_id` of the page before.")]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, items: list[Item], limit: int) -> Page[Item]:
        """The page of the first `limit` of `items`, which hold one more if there are more."""
        data = items[:limit]
        return cls(
            data=data,
            has_more=len(items) > limit,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )


def position(owner: str, item_id: str | None) -> int:
    """The number in `OWNER.NUMBER`, the id of an item of a list of this owner's; without one, -1.

    Raises PositionUnknown.
    """
    if item_id is None:
        return -1
    found = _NUMBERED.fullmatch(item_id)
    if found is None or found[1] != owner:
        raise PositionUnknown(f"{item_id[:100]} names no item of this list; send an id that this list gave.")
    return int(found[2])
