"""Distillation in a recipe: the form of its loss follows from the task, and its teacher is a checkpoint."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from models.catalog.distillation import Distillation
from models.catalog.recipe import Recipe
from tests.support.recipe_variants import DATA

TEACHER = "ckpt_1"


def test_its_loss_is_that_of_one_label_or_of_several() -> None:
    distillation = Distillation(teacher=TEACHER, temperature=2.0, weight=1.0)
    logits = torch.tensor([[0.0, 2.0]])
    one, several = distillation.build("single_label"), distillation.build("multi_label")
    assert one.soften(logits).sum().item() == pytest.approx(1.0)
    assert several.soften(logits).tolist() == [pytest.approx([0.5, 1 / (1 + 2.718281828**-1)])]


def test_a_teacher_must_be_a_checkpoint() -> None:
    for given in ({}, {"teacher": "timm/resnet18.a1_in1k"}, {"teacher": "bb_1"}):
        with pytest.raises(ValidationError, match="teacher"):
            Recipe.model_validate({"distillation": given})


def test_the_head_alone_is_trained_without_it() -> None:
    """A probe before stages is the job of the empty recipe, and finds its features and its result."""
    recipe = Recipe.model_validate({"distillation": {"teacher": TEACHER}, "cut": {"kind": "top", "probe": True}})
    assert recipe.resolve(**DATA).to_probe().distillation is None
