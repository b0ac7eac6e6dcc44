"""Reproducibility: what draws at random draws the same again."""

from __future__ import annotations

import numpy as np
import torch


def seed_epoch(seed: int, epoch: int) -> None:
    """Have torch draw what belongs to this epoch, whatever was drawn before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
