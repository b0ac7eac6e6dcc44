"""The distillation loss against its formula by hand, and torch's divergence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.nn.losses import DistillationLoss

HARD = torch.tensor(3.0)


def test_of_two_classes_it_is_the_formula() -> None:
    loss = DistillationLoss(2.0, 0.25, is_multi_label=False)
    teacher, student = torch.tensor([[2 * math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    targets = loss.soften(teacher)
    assert targets.tolist() == [pytest.approx([0.75, 0.25])], "e^(2·ln 3 / 2) = 3, to 1"
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss(HARD, student, targets).item() == pytest.approx(0.75 * 3.0 + 0.25 * 4 * divergence)


def test_of_several_labels_it_is_the_mean_over_labels() -> None:
    loss = DistillationLoss(2.0, 1.0, is_multi_label=True)
    teacher, student = torch.tensor([[2 * math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    targets = loss.soften(teacher)
    assert targets.tolist() == [pytest.approx([0.75, 0.5])]
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss(HARD, student, targets).item() == pytest.approx(4 * divergence / 2), "the second label agrees"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_is_torchs_divergence_of_distributions(temperature: float) -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    loss = DistillationLoss(temperature, 1.0, is_multi_label=False)
    distributions = (torch.distributions.Categorical(logits=logits / temperature) for logits in (teacher, student))
    expected = temperature**2 * torch.distributions.kl_divergence(*distributions).mean()
    torch.testing.assert_close(loss(HARD, student, loss.soften(teacher)), expected)
    several = DistillationLoss(temperature, 1.0, is_multi_label=True)
    bernoullis = (torch.distributions.Bernoulli(logits=logits / temperature) for logits in (teacher, student))
    expected = temperature**2 * torch.distributions.kl_divergence(*bernoullis).mean()
    torch.testing.assert_close(several(HARD, student, several.soften(teacher)), expected)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_who_agrees_with_the_teacher_has_no_gradient_of_it(is_multi_label: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, requires_grad=True)
    loss = DistillationLoss(3.0, 1.0, is_multi_label=is_multi_label)
    value = loss(HARD, logits, loss.soften(logits.detach()))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_a_teacher_that_is_certain_gives_finite_numbers(is_multi_label: bool) -> None:
    logits = torch.tensor([[-200.0, 0.0, 300.0]], requires_grad=True)
    loss = DistillationLoss(0.1, 0.5, is_multi_label=is_multi_label)
    value = loss(HARD, logits, loss.soften(torch.tensor([[2000.0, -1000.0, 0.0]])))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_at_a_high_temperature_the_gradient_is_that_of_the_distance_of_centred_logits() -> None:
    """The limit that the paper derives: T²·∂KL/∂z → (z - t)/C, where logits have mean zero."""
    torch.manual_seed(0)
    teacher, student = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    teacher, student = teacher - teacher.mean(1, keepdim=True), student - student.mean(1, keepdim=True)
    student.requires_grad_()
    loss = DistillationLoss(1e4, 1.0, is_multi_label=False)
    loss(HARD, student, loss.soften(teacher)).backward()
    assert student.grad is not None
    torch.testing.assert_close(6 * student.grad, (student.detach() - teacher) / 4, rtol=1e-3, atol=1e-4)


def test_the_loss_of_labels_keeps_its_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, requires_grad=True)
    loss = DistillationLoss(1.0, 0.3, is_multi_label=False)
    labels = torch.tensor([0, 1, 2, 0])
    teacher = torch.randn(4, 3)
    loss(nn.functional.cross_entropy(logits, labels), logits, loss.soften(teacher)).backward()
    expected = 0.7 * (logits.softmax(1) - nn.functional.one_hot(labels, 3)) + 0.3 * logits.softmax(1)
    expected = (expected - 0.3 * teacher.softmax(1)) / 4
    torch.testing.assert_close(logits.grad, expected.detach())
