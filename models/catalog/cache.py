"""The cache: whether trunk outputs are kept, and of how many views."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.catalog.technique import Technique


class Cache(Technique):
    """Trunk outputs are computed once for each view of each picture, and kept.

    Epoch e = 1, 2, … trains on view (e - 1) mod (views + 1); view 0 is the plain picture, the others are augmented.
    Without a cache each epoch trains on a new view, epoch e on view e - 1, and the trunk computes it again. A word
    alone is the mode.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    """auto: on, but off where the whole backbone is trained, or pictures are mixed."""
    views: Annotated[int, Field(ge=0, le=64)] = 4
    """Augmented views of each picture."""

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_mode(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given
