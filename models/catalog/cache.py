"""The cache: whether trunk outputs are kept, and of how many views."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.catalog.technique import Technique, known

MOST = 4
"""Augmented views: more have not helped on any images that were measured."""
MANY = 100
"""Images of a class, with more of which a head on frozen features has not learned anything from augmented views."""


class Cache(Technique):
    """Trunk outputs are computed once for each view of each image, and kept.

    Epoch e = 1, 2, … trains on view (e - 1) mod (views + 1); view 0 is the plain image, the others are augmented.
    Where views grow, there is view 0 alone at first, and one more whenever the validation loss has not improved for
    some epochs, if the last one lowered it. Without a cache each epoch trains on a new view, epoch e on view e - 1, and
    the trunk computes it again. A word alone is the mode.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    """auto: on, but off where the whole backbone is trained, or images are mixed."""
    views: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    """Augmented views of each image, at most; auto: as many as help, up to 4, and none where the whole backbone is
    frozen and there are more than 100 images a class."""
    grow: bool | Literal["auto"] = "auto"
    """Whether they come one by one, while they help; auto: where views is auto."""
    max_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """What the features of the job's images may take. Where they would take more, there are fewer views; where the
    plain one alone would, the backbone is cut further up, and less of it is trained. Null: GRAFT_CACHE_BYTES."""

    def resolve(self, *, is_used: bool, has_augmentations: bool, images_per_class: float) -> Cache:
        """The same with all known.

        Args:
            is_used: whether features are kept.
            has_augmentations: whether there is what makes views differ.
            images_per_class: of those to train on, or 0 where more than a head is trained.
        """
        grow = is_used and (self.views == "auto" if self.grow == "auto" else self.grow)
        views = self.views
        if views == "auto":
            views = 0 if grow and images_per_class > MANY else MOST
        if not has_augmentations:
            views = 0
        return self.model_copy(update={"mode": "on" if is_used else "off", "views": views, "grow": grow and views > 0})

    def fitting(self, views: int) -> Cache:
        """A resolved technique with no more views than so many."""
        fewer = min(self.most, views)
        return self.model_copy(update={"views": fewer, "grow": self.grow and fewer > 0})

    @property
    def most(self) -> int:
        """The views of a resolved technique."""
        return known(self.views)

    @property
    def first(self) -> int:
        """How many views of a resolved technique there are from the start."""
        return 0 if self.grow else self.most

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_mode(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given
