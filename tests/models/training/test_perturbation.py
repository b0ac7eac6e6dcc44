"""Sharpness-aware steps against steps by hand, and against a plain loop of torch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.catalog.sharpness import SAM
from models.messages import Diagnosed, EpochEnded, Noted
from models.nn.low_rank import LowRankUpdate
from models.runtime.rng import seed_epoch
from models.training.loop import Training, TrainingDiverged
from models.training.perturbation import perturb
from tests.support.small_training import small_run, train_small, uncached_training

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.training.inputs import TrainingRun

MLP = {"kind": "mlp", "hidden": [8], "dropout": 0.3, "normalization": "batch_norm"}
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-8}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "nadam": (torch.optim.NAdam, {}),
}


def test_the_gradient_of_a_parabola_is_that_of_the_point_rho_higher() -> None:
    """L = a·w²/2 has g = a·w and e = rho·sign(w): the second gradient is a·(w + rho·sign(w))."""
    network = nn.Identity()
    weight = nn.Parameter(torch.zeros(1))
    for start in (2.0, -3.0):
        weight.data.fill_(start)
        weight.grad = None
        (0.5 * 4.0 * weight.square()).sum().backward()  # type: ignore[no-untyped-call]
        with perturb(SAM(rho=0.5), network, [weight]):
            assert weight.item() == pytest.approx(start + (0.5 if start > 0 else -0.5))
            weight.grad = None
            (0.5 * 4.0 * weight.square()).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.item() == start
        assert weight.grad is not None
        assert weight.grad.item() == pytest.approx(4.0 * (start + (0.5 if start > 0 else -0.5)))


def test_afterwards_all_is_what_it_was_to_the_bit_whatever_happens() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    network[2].requires_grad_(False)
    network(torch.randn(8, 3)).square().sum().backward()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(KeyError), perturb(SAM(rho=0.1), network, list(network.parameters())):
        now = network.state_dict()
        assert not torch.equal(now["0.weight"], before["0.weight"])
        assert torch.equal(now["2.weight"], before["2.weight"]), "what is not trained stays"
        network(torch.randn(8, 3) + 5)
        assert not torch.equal(now["1.running_mean"], before["1.running_mean"])
        raise KeyError
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_an_average_of_all_batches_counts_each_batch_once() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None))
    network(torch.randn(8, 3)).square().sum().backward()
    with perturb(SAM(), network, list(network.parameters())):
        network(torch.randn(8, 3))
    assert network[1].num_batches_tracked == 1


class PlainLoop:
    """Trains a copy of a run's head as the paper's algorithm says, drawing at random what a training draws.

    With `limit`: clips the norm of the gradients, adds an L1 penalty of 0.01, and limits the norm of units to 0.5.
    """

    def __init__(self, run: TrainingRun, kind: str, rho: float, limit: float | None = None) -> None:
        self.run, self.rho, self.limit = run, rho, limit
        self.head = copy.deepcopy(run.model.head).train()
        self.parameters = list(self.head.parameters())
        self.weights = [parameter for parameter in self.parameters if parameter.ndim > 1]
        self.norms = [module for module in self.head.modules() if isinstance(module, nn.BatchNorm1d)]
        optimizer, fields = OPTIMIZERS[kind]
        self.optimizer = optimizer(self.parameters, lr=0.01, **fields)  # type: ignore[call-arg]
        self.labels = dict(zip(run.train.images.tolist(), run.train.labels.tolist(), strict=True))

    def train(self, epochs: int) -> nn.Module:
        """Train, and return the head."""
        run, targets = self.run, torch.from_numpy(self.run.train.labels)
        for epoch in range(1, epochs + 1):
            seed_epoch(run.recipe.seed, epoch)
            order = run.train.images[run.recipe.sampling.draw_order(targets).numpy()]
            for images, rows in run.source.read_batches(order, 0, run.recipe.batch_size):
                self.step(
                    torch.from_numpy(rows).float(), torch.tensor([self.labels[image] for image in images.tolist()])
                )
        return self.head

    def step(self, rows: torch.Tensor, y: torch.Tensor) -> None:
        """Do a step: mix, ascend, take the gradient there, go back, clip, step, constrain."""
        share, others = 1.0, y
        if self.run.recipe.augmentations:
            torch.randint(1, ())  # which of the recipe's mixes
            mixed = self.run.recipe.augmentations[0].mix(rows)  # type: ignore[union-attr]
            rows, share, others = mixed.rows, mixed.share, y[mixed.partners]
        x = self.run.model.standardize(rows)
        state = torch.get_rng_state()
        self.compute_gradient(x, y, others, share)
        own, gradients = ([*map(torch.clone, tensors)] for tensors in (self.parameters, self.list_gradients()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.add_(self.rho * gradient / norm)
        for module in self.norms:
            module.track_running_stats = False
        torch.set_rng_state(state)
        self.compute_gradient(x, y, others, share)
        for module in self.norms:
            module.track_running_stats = True
        with torch.no_grad():
            for parameter, value in zip(self.parameters, own, strict=True):
                parameter.copy_(value)
        if self.limit is None:
            self.optimizer.step()
        else:
            self.step_within(self.limit)

    def step_within(self, limit: float) -> None:
        """Add the penalty, clip, step, and constrain."""
        for weight in self.weights:
            (0.01 * weight.abs().sum()).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, limit)
        self.optimizer.step()
        with torch.no_grad():
            for weight in self.weights:
                weight.copy_(weight.renorm(2, 0, 0.5))

    def compute_gradient(self, x: torch.Tensor, y: torch.Tensor, others: torch.Tensor, share: float) -> None:
        """Compute the gradient of the mixed loss at the present weights."""
        self.optimizer.zero_grad()
        logits, loss_of = self.head(x), nn.functional.cross_entropy
        (share * loss_of(logits, y) + (1 - share) * loss_of(logits, others)).backward()  # type: ignore[no-untyped-call]

    def list_gradients(self) -> list[torch.Tensor]:
        """List the gradients of all parameters."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


def assert_same_head(training: Training, expected: nn.Module) -> None:
    """Assert that a training's last weights are those expected."""
    state = training.model.head.state_dict()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_optimizer_steps_as_in_a_plain_loop_of_torch(pack: Pack, tmp_path: Path, kind: str) -> None:
    choices: dict[str, Any] = {
        "sharpness": {"kind": "sam", "rho": 0.2},
        "optimizer": {"kind": kind, "lr": 0.01},
        "cache": {"views": 0},
        "regularizers": [],
        "augmentations": [],
        # Below BatchNorm the gradient of a bias is rounding alone, which some optimizers make a step of.
        "head": {**MLP, "normalization": "layer_norm"},
        "early_stopping": None,
        "epochs": 3,
    }
    training = Training(small_run(pack, tmp_path, **choices))
    expected = PlainLoop(training.run, kind, rho=0.2).train(epochs=3)
    list(training.train())
    assert_same_head(training, expected)
    plain, _ = train_small(pack, tmp_path, **{**choices, "sharpness": None})
    assert not torch.allclose(plain.model.head.output.weight, training.model.head.output.weight, rtol=1e-3)


def test_mixing_penalties_clipping_and_constraints_act_as_in_a_plain_loop(pack: Pack, tmp_path: Path) -> None:
    """The second pass has the mix and the masks of the first; penalties and clipping see the second's gradient."""
    training = Training(
        small_run(
            pack,
            tmp_path,
            sharpness={"kind": "sam", "rho": 0.2},
            optimizer={"kind": "momentum", "lr": 0.01},
            gradient_clipping={"kind": "by_norm", "limit": 0.5},
            cache={"views": 0},
            regularizers=[{"kind": "l1", "strength": 0.01}, {"kind": "max_norm", "r": 0.5}],
            augmentations=[{"kind": "mixup", "alpha": 1.0}],
            head=MLP,
            early_stopping=None,
            epochs=3,
        )
    )
    expected = PlainLoop(training.run, "momentum", rho=0.2, limit=0.5).train(epochs=3)
    list(training.train())
    assert_same_head(training, expected)
    share = training.train_step.clipped_share
    assert share is not None
    assert 0 < share <= 1


def test_figures_and_diagnosis_are_those_of_the_first_pass(pack: Pack, tmp_path: Path) -> None:
    """One step an epoch: before it, both trainings have the same weights."""
    found = []
    for sharpness in ({"kind": "sam", "rho": 5.0}, None):
        heard: list[Any] = []
        _, epochs = train_small(pack, tmp_path, heard, sharpness=sharpness, head=MLP, batch_size=60, epochs=1)
        (diagnosed, _) = (event.diagnosis for event in heard if isinstance(event, Diagnosed))
        found.append((epochs[0].train_loss, epochs[0].train_accuracy, diagnosed["layers"], epochs[0].validation_loss))
    assert found[0][:3] == found[1][:3]
    assert found[0][3] != found[1][3]


class ShortOfMemory(nn.Module):
    """Fails once, as an allocator does, in the pass of this number through the network in training."""

    def __init__(self, fails_in: int) -> None:
        super().__init__()
        self.passes, self.fails_in = 0, fails_in

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows."""
        if torch.is_grad_enabled():
            self.passes += 1
            if self.passes == self.fails_in:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return rows


@pytest.mark.parametrize("fails_in", [3, 4], ids=["first pass", "second pass"])
def test_where_memory_is_short_both_passes_go_in_parts(pack: Pack, fails_in: int) -> None:
    choices: dict[str, Any] = {
        "sharpness": {"kind": "sam", "rho": 0.5},
        "head": {"kind": "mlp", "hidden": [8], "dropout": 0.0},
        "augmentations": ["mixup"],
        "early_stopping": None,
    }
    whole, parted = uncached_training(pack, **choices), uncached_training(pack, **choices)
    parted.model.top = ShortOfMemory(fails_in)
    ends = []
    for training in (whole, parted):
        events = list(training.train())
        ends.append([event.train_loss for event in events if isinstance(event, EpochEnded)])
    assert parted.train_step.micro_batches.count == 2
    assert ends[1] == pytest.approx(ends[0], rel=1e-4)
    for name, weight in whole.model.head.state_dict().items():
        torch.testing.assert_close(parted.model.head.state_dict()[name], weight, rtol=1e-3, atol=1e-5)


def test_a_second_pass_that_diverges_is_retried_from_weights_without_it(pack: Pack, tmp_path: Path) -> None:
    training = Training(small_run(pack, tmp_path, sharpness={"kind": "sam", "rho": 1e30}, head=MLP))
    before = training.model.copy_state()
    heard = []
    with pytest.raises(TrainingDiverged):
        for event in training.train():
            heard.append(event)
    assert [event.kind for event in heard if isinstance(event, Noted)] == ["diverged"]
    weights = training.model.head.state_dict()
    for name, parameter in training.model.head.named_parameters():
        assert torch.equal(weights[name], before[f"head.{name}"]), "no step was done"
        assert torch.isfinite(parameter).all()


def test_low_rank_updates_move_by_their_factors() -> None:
    """The second gradient is that of a branch with moved factors beside the frozen layer, and all is restored."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    frozen = copy.deepcopy(layer.weight.detach())
    update = LowRankUpdate(layer.weight, 2, 1.5)
    nn.init.normal_(update.up)
    update.merge()
    network = nn.ModuleList([layer, update])
    factors = [update.down, update.up]
    x, merged = torch.randn(4, 6), layer.weight.detach().clone()
    layer(x).square().sum().backward()
    gradients = [factor.grad.clone() for factor in factors if factor.grad is not None]
    moves = SAM(rho=0.5).compute_ascent([factor.detach() for factor in factors], gradients)
    moved = [(factor.detach() + move).requires_grad_() for factor, move in zip(factors, moves, strict=True)]
    with perturb(SAM(rho=0.5), network, factors):
        update.zero_grad()
        layer(x).square().sum().backward()
    weight = frozen + 1.5 * moved[1] @ moved[0]
    nn.functional.linear(x, weight, layer.bias.detach()).square().sum().backward()  # type: ignore[no-untyped-call]
    for factor, reference in zip(factors, moved, strict=True):
        torch.testing.assert_close(factor.grad, reference.grad)
    assert torch.equal(layer.weight, merged)
