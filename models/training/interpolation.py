"""Weight-space ensembles (WiSE-FT): weights between the start of a fine-tuning and its best epoch.

On the line between both, weights are often better than at either end, also on images of another kind (Wortsman et al.,
2022, arXiv:2109.01903).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from models.messages import Noted
from models.training.step import NotFinite

if TYPE_CHECKING:
    import torch

    from models.training.selection import Selection
    from models.training.validator import ComputeLoss, Validator

SHARES = (0.25, 0.5, 0.75)
"""Points between the start of training and the best epoch whose weights are tried, where a recipe interpolates."""


def select_between(
    start: dict[str, torch.Tensor], selection: Selection, validator: Validator, compute_loss: ComputeLoss
) -> Noted:
    """Try weights between `start` and those of the best epoch, and select the best on the validation images.

    Where a baseline is better than each epoch, such as the start, a point between may still be better than both.
    """
    end, model = selection.improved_state or selection.state, validator.model
    for share in SHARES:
        model.load_state_dict(mix(start, end, share))
        with suppress(NotFinite):  # such a point is none that could be selected
            selection.add_point(share, validator.validate(compute_loss), model.copy_state)
    selection.improved_state = None
    if selection.name != "epoch":
        return selection.report_baseline()
    return Noted(
        kind="interpolated",
        message=f"Of the weights from before training (0) to epoch {selection.epoch} (1), those at "
        f"{selection.share:g} are best on the validation images",
        data={"epoch": selection.epoch, "share": selection.share, **selection.figures},
    )


def mix(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Interpolate weights: start + share·(end - start), tensor by tensor; whole numbers are those of the end."""
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor for name, tensor in end.items()
    }
