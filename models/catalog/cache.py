"""The feature cache: which outputs of the frozen trunk a job stores, for how many augmented views."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.catalog.technique import Technique, known

MOST = 4
"""Most augmented views for `auto`: more did not help on any dataset that was measured."""
MANY = 100
"""Images per class above which augmented views did not improve a head on frozen features."""


class Cache(Technique):
    """Feature cache: the outputs of the frozen trunk are computed once per view of an image, and stored.

    Epoch e = 1, 2, … trains on view (e - 1) mod (views + 1); view 0 is the plain image, the others are augmented.
    With `grow`, training starts with view 0 alone and adds a view whenever the validation loss has stopped improving,
    as long as the view added before lowered it. Without a cache, epoch e trains on a new view, e - 1, and the trunk
    computes it again. A string alone is the mode: `"cache": "off"`.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    """Whether features are cached; auto: on, except where the whole backbone is trained or cutmix mixes images."""
    views: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    """Largest number of augmented views per image; auto: up to 4, as long as they help; none where the whole backbone
    is frozen and the dataset has more than 100 training images per class."""
    grow: bool | Literal["auto"] = "auto"
    """Whether views are added one at a time, only while they help; auto: true where views is auto."""
    max_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Most bytes that the job's features may take in the cache. Where they would take more, the job uses fewer views;
    where even the plain view would, it cuts the backbone higher and trains less of it. Null: GRAFT_CACHE_BYTES."""

    def resolve(self, *, is_used: bool, has_augmentations: bool, images_per_class: float) -> Cache:
        """Replace every `auto`.

        Args:
            is_used: whether features are cached.
            has_augmentations: whether the recipe has image augmentations, without which all views are the same.
            images_per_class: training images per class, or 0 where more than a head is trained.
        """
        grow = is_used and (self.views == "auto" if self.grow == "auto" else self.grow)
        views = self.views
        if views == "auto":
            views = 0 if grow and images_per_class > MANY else MOST
        if not has_augmentations:
            views = 0
        return self.model_copy(update={"mode": "on" if is_used else "off", "views": views, "grow": grow and views > 0})

    def limit_views(self, views: int) -> Cache:
        """Allow at most this many views, in a resolved technique."""
        fewer = min(self.most, views)
        return self.model_copy(update={"views": fewer, "grow": self.grow and fewer > 0})

    @property
    def most(self) -> int:
        """Largest number of views of a resolved technique."""
        return known(self.views)

    @property
    def first(self) -> int:
        """Number of views at the start of training, of a resolved technique."""
        return 0 if self.grow else self.most

    @model_validator(mode="before")
    @classmethod
    def _accept_mode_alone(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given
