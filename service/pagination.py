"""Pagination: `?limit=&after=` in, one page out."""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from service.errors import Unprocessable
from service.query_parameters import none_if_empty
from service.types import DescribedModel

_NUMBERED = re.compile(r"(.+)\.(\d{1,18})", re.ASCII)
_ULID = "[0-9A-HJKMNP-TV-Z]{26}"


class PositionUnknown(Unprocessable):
    """The `after` position names no item of the list."""

    code = "position_unknown"


class Identified(DescribedModel):
    """An item of a list; made from a row of a table where their fields agree."""

    model_config = ConfigDict(from_attributes=True)

    id: str


Item = TypeVar("Item", bound=Identified)

PageSize = Annotated[int, Query(ge=1, le=1000, description="Most items on the page.")]
After = Annotated[str | None, BeforeValidator(none_if_empty), Query(description="The `last_id` of the page before.")]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def from_items(cls, items: list[Item], limit: int) -> Page[Item]:
        """Build the page of the first `limit` of `items`, which hold one more if there are more."""
        data = items[:limit]
        return cls(
            data=data,
            has_more=len(items) > limit,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )


def shaped_like(pattern: str) -> AfterValidator:
    """Validate that a position has the shape of the list's ids: `job` for job_01M8…, else a regular expression.

    The item itself may have been deleted since.
    """
    shape = re.compile(f"{pattern}_{_ULID}" if pattern.isalpha() else pattern)

    def check(item_id: str | None) -> str | None:
        if item_id is not None and shape.fullmatch(item_id) is None:
            raise ValueError(_describe_unknown(item_id))
        return item_id

    return AfterValidator(check)


def parse_position(owner: str, item_id: str | None) -> int:
    """Parse the number of OWNER.NUMBER, the id of an item of the owner's list; -1 without an id.

    Raises PositionUnknown.
    """
    if item_id is None:
        return -1
    found = _NUMBERED.fullmatch(item_id)
    if found is None or found[1] != owner:
        raise PositionUnknown(_describe_unknown(item_id))
    return int(found[2])


def _describe_unknown(item_id: str) -> str:
    return f"{item_id[:100]} names no item of this list; send an id that this list gave."
