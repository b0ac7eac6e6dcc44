"""Pooling: how the backbone's feature maps become the features that the head reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.catalog.technique import Technique, by_name


class Depths(Technique):
    """Features of several depths: averages of the stages' feature maps over grids, beside the backbone's own features.

    The backbone's last layers know what its pretraining had to tell apart, and forget where it was; maps below still
    know place, size and texture. So a linear head on all of them is more accurate where new images are unlike those of
    the pretraining, at the cost of a head alone (Head2Toe; Evci et al., 2022, arXiv:2201.03529; grids in place of its
    group lasso bound the number of features). Checkpoints are graphs of plain torch.
    """

    kind: Literal["depths"] = "depths"
    stages: Annotated[int, Field(ge=1, le=64)] = 5
    """Number of stages whose maps are read, evenly spread up to the topmost; all, where there are fewer."""
    numbers: Annotated[int, Field(ge=1, le=65536)] = 1024
    """Most features of each map: one of C channels is averaged over the finest grid of g x g cells, g²·C of which are
    no more; at least over the whole map, and at most at each of its positions."""

    def choose_grid(self, channels: int, height: int, width: int) -> tuple[int, int]:
        """Choose the rows and columns of the grid of a map."""
        cells = 1
        while cells < max(height, width) and channels * min(cells + 1, height) * min(cells + 1, width) <= self.numbers:
            cells += 1
        return min(cells, height), min(cells, width)

    def choose_stages(self, count: int) -> list[int]:
        """Choose the positions of the stages that are read, of `count` from the lowest up."""
        read = min(self.stages, count)
        return sorted({round((number + 1) * count / read) - 1 for number in range(read)})


Pooling = Annotated[Depths, by_name("depths")]
